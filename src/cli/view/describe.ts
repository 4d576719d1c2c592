// What a transition means, in a sentence.

import type { Transition } from '../../index.ts'
import { count, duration, percent } from './format.ts'
import type { Role } from './line.ts'
import { oneLine } from './sanitize.ts'
import type { ViewState } from './view-model.ts'

/** What a sentence is about; a part of the demonstration shows some topics and not others. */
export type Topic = 'progress' | 'turn' | 'mapping' | 'scheduling' | 'context' | 'tool' | 'trouble'

/** One sentence of the log. */
export interface LogEntry {
  atMs: number
  /** Undefined for the run as a whole. */
  stage: string | undefined
  topic: Topic
  text: string
  role: Role
}

/** Characters of a tool's arguments that are shown. */
const argumentCharsMax = 160
/** Characters of a reason or message that are shown. */
const reasonCharsMax = 300

function short(text: string, charsMax = reasonCharsMax): string {
  const line = oneLine(text.slice(0, charsMax * 4))
  return line.length > charsMax ? `${line.slice(0, charsMax)}…` : line
}

/**
 * The sentences that a transition is worth, at most two.
 *
 * @param before - what was shown before it: the place in a queue is counted there
 */
export function describe(transition: Transition, before: Pick<ViewState, 'backends'>): LogEntry[] {
  const { atMs } = transition
  const stage = 'stage' in transition ? transition.stage : undefined
  const say = (topic: Topic, text: string, role: Role = 'plain'): LogEntry => ({ atMs, stage, topic, text, role })
  const reason = short(transition.reason)

  switch (transition.type) {
    case 'run.started':
      return [say('progress', `started: ${transition.stages} stages, tenant ${short(transition.tenant)}`)]
    case 'run.stopping':
      return [say('trouble', `stops: ${short(transition.error.message)}`, 'bad')]
    case 'run.completed':
      return [say('progress', 'completed', 'ok')]
    case 'run.failed':
      return [say('trouble', `${transition.to}: ${short(transition.error.message)} [${transition.error.code}]`, 'bad')]
    case 'stage.started':
      return [say('progress', `starts: ${reason}`)]
    case 'stage.mapped':
      return [say('mapping', `mapped to ${transition.backend}, ${short(transition.model)}: ${reason}`, 'accent')]
    case 'stage.queued': {
      const { backend, turn, stagePriority, requestPriority, promptTokens, addedTokens, contextHash } = transition
      const waiting = before.backends.find(({ name }) => name === backend)?.waiting.length ?? 0
      const priority =
        stagePriority === requestPriority ? `${stagePriority}` : `stage ${stagePriority}, request ${requestPriority}`
      const place = `turn ${turn} queued on ${backend}, place ${waiting + 1}, priority ${priority}`
      const chain = contextHash.slice(0, 8)
      const beyond = `${count(addedTokens)} beyond what this run last sent to ${backend}`
      const prompt = `turn ${turn} prompt: about ${count(promptTokens)} tokens, ${beyond}; chain ${chain}`
      return [say('context', prompt, 'quiet'), say('scheduling', place, 'waiting')]
    }
    case 'stage.granted':
      return [
        say(
          'scheduling',
          `turn ${transition.turn} granted after ${duration(transition.queueWaitMs)}: ${reason}`,
          'busy',
        ),
      ]
    case 'stage.rejected':
      return [say('trouble', `${transition.backend} does not take it: ${short(transition.error.message)}`, 'bad')]
    case 'stage.firstToken':
      return [say('turn', `turn ${transition.turn} first token after ${duration(transition.ttftMs)}`, 'quiet')]
    case 'stage.released': {
      const { turn, durationMs, outcome, usage, finishReason, error } = transition
      if (outcome !== 'ok') {
        const why = error === undefined ? reason : short(error.message)
        return [say('trouble', `turn ${turn} ${outcome} after ${duration(durationMs)}: ${why}`, 'bad')]
      }
      const { promptTokens, cachedTokens, completionTokens } = usage
      const share = percent(cachedTokens ?? 0, promptTokens ?? 0)
      const cached = `${count(cachedTokens)} cached${cachedTokens === undefined || share === '' ? '' : ` (${share})`}`
      const tokens = `${count(promptTokens)} prompt tokens, ${cached}, ${count(completionTokens)} answered`
      return [say('context', `turn ${turn} took ${duration(durationMs)}: ${tokens}; ${finishReason ?? 'ended'}`)]
    }
    case 'stage.retrying':
      return [
        say(
          'trouble',
          `turn ${transition.turn} again in ${duration(transition.delayMs)}, attempt ${transition.attempt}: ${reason}`,
          'bad',
        ),
      ]
    case 'tool.started':
      return [
        say('tool', `calls ${short(transition.tool)}(${short(transition.arguments, argumentCharsMax)})`, 'accent'),
      ]
    case 'tool.ended': {
      const { tool, ok, durationMs, message } = transition
      if (ok) return [say('tool', `${short(tool)} ok in ${duration(durationMs)}`, 'ok')]
      return [say('tool', `${short(tool)} failed in ${duration(durationMs)}: ${short(message ?? reason)}`, 'bad')]
    }
    case 'stage.continued':
      return [say('turn', `goes on with turn ${transition.turn}: ${reason}`, 'quiet')]
    case 'stage.completed':
      return [say('progress', `completed: ${reason}`, 'ok')]
    case 'stage.failed':
      return [say('trouble', `failed: ${short(transition.error.message)} [${transition.error.code}]`, 'bad')]
    case 'stage.skipped':
      return [say('progress', `skipped: ${reason}`, 'quiet')]
    case 'stage.cancelled':
      return [say('trouble', `cancelled: ${reason}`, 'bad')]
    case 'cache.kept':
    case 'cache.released':
    case 'cache.flushed':
    case 'cache.flushFailed':
    case 'cache.held':
    case 'cache.admitted':
    case 'cache.prewarmed': {
      const { backend, policy, tokens, type } = transition
      const role = type === 'cache.flushFailed' ? 'bad' : type === 'cache.held' ? 'waiting' : 'accent'
      const what = `${type.slice('cache.'.length)} at ${backend}, ${count(tokens)} tokens`
      return [say('context', `cache ${what}: ${reason} [${short(policy)}]`, role)]
    }
    default:
      // Events that came later than this view are no reason to fail it.
      return []
  }
}
