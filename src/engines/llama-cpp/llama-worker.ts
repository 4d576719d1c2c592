// Entry of the process that runs a model. No logic: coverage cannot see code that runs elsewhere.

import process from 'node:process'
import { ModelHost } from './model-host.ts'
import type { ToModel } from './protocol.ts'

const host = new ModelHost((message) => void process.send?.(message))
process.on('message', (message: ToModel) => host.receive(message))
// Whoever started it is gone, or wants it gone. Nothing here outlives that.
process.on('disconnect', () => process.exit())
// The terminal sends Ctrl-C to everybody; when to end is for the runtime to say.
process.on('SIGINT', () => undefined)
