import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["*.test.mjs"],
    // The suite's own longest waits are long-polls of half a second; the rest is room for a busy machine.
    testTimeout: 15_000,
    hookTimeout: 15_000,
    coverage: { enabled: false },
  },
});
