// A responder that lives in a module, as one for the engine thread must.

import type { Responder } from '../../src/simulator/responder.ts'

export const responder: Responder = (request) => ({ content: `module says: ${request.messages.length} message(s)` })
