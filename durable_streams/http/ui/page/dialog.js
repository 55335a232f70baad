// One dialog for all forms: it stays open, and says why, while the server refuses.

const dialog = document.querySelector('#dialog');
const form = dialog.querySelector('form');
const refusal = dialog.querySelector('.refusal');
const submit = form.querySelector('button[type="submit"]');

// fields: [{name, label, value, kind: 'text' | 'area' | 'check' | 'choice', choices}]; act(values) does the work.
export function open({ title, why = '', fields = [], action, act }) {
  dialog.querySelector('h3').textContent = title;
  dialog.querySelector('.why').textContent = why;
  refusal.textContent = '';
  submit.textContent = action;
  submit.disabled = false;
  const inputs = new Map();
  dialog.querySelector('.fields').replaceChildren(...fields.map((field) => labelled(field, inputs)));
  form.onsubmit = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await act(Object.fromEntries([...inputs].map(([name, input]) => [name, valueOf(input)])));
      dialog.close();
    } catch (error) {
      refusal.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
  };
  dialog.showModal();
  inputs.values().next().value?.focus();
}

form.querySelector('button[value="cancel"]').addEventListener('click', () => dialog.close());
form.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit(submit);
});

function valueOf(input) {
  return input.type === 'checkbox' ? input.checked : input.value;
}

function labelled({ name, label, value = '', kind = 'text', choices = [] }, inputs) {
  const box = document.createElement('label'), text = document.createElement('span');
  const input = document.createElement({ area: 'textarea', choice: 'select' }[kind] ?? 'input');
  text.textContent = label;
  if (kind === 'check') {
    input.type = 'checkbox';
    input.checked = Boolean(value);
    box.className = 'check';
    box.append(input, text);
  } else {
    if (kind === 'choice') input.append(...choices.map((one) => new Option(one)));
    input.value = value;
    input.spellcheck = false;
    box.append(text, input);
  }
  input.name = name;
  inputs.set(name, input);
  return box;
}
