// Start the Node server: node serve.mjs PORT [DATA_DIR]. Without a data dir it keeps its streams in memory.
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, dataDir] = process.argv.slice(2)
const server = new DurableStreamTestServer({ port: Number(port), host: "127.0.0.1", dataDir, longPollTimeout: 30_000 })
await server.start()
process.on("SIGTERM", () => process.exit(0))
