// The jobs of the prompt threads, as functions that any thread can run.

import { toOrlaError } from '../errors.ts'
import { countWith, measureMessage, type MessageFacts } from '../prompts/conversation.ts'
import { loadEstimator } from '../prompts/estimator.ts'
import { buildMessage } from '../prompts/render.ts'
import type { Message } from '../schema/message.ts'
import type { PromptResults, PromptTask, TaggedResult } from './protocol.ts'

/** Runs one job. Never rejects: what goes wrong comes back as facts (`ORLA_WORKER_TASK` unless it has a code). */
export async function runPromptTask(task: PromptTask): Promise<TaggedResult<PromptResults[PromptTask['type']]>> {
  try {
    const estimator = await loadEstimator(task.estimator)
    const count = (text: string): number => countWith(estimator, text)
    const measure = (message: Message): MessageFacts => measureMessage(message, count)
    switch (task.type) {
      case 'prompt.count':
        return { ok: true, value: task.texts.map(count) }
      case 'prompt.measure':
        return { ok: true, value: task.messages.map(measure) }
      case 'prompt.build': {
        const messages = task.drafts.map(buildMessage)
        return { ok: true, value: { messages, facts: messages.map(measure) } }
      }
    }
  } catch (error) {
    return { ok: false, error: toOrlaError(error, 'ORLA_WORKER_TASK', 'a prompt could not be measured').toJSON() }
  }
}
