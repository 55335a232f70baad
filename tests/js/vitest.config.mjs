import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["*.test.mjs"],
    // Nets against hangs, as HANG_S in tests/patience.py: how fast the machine is, is not what is tested.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    coverage: { enabled: false },
  },
});
