// An engine thread that dies when it is spoken to.

import { parentPort } from 'node:worker_threads'

parentPort?.on('message', () => process.exit(3))
