// What follows from a model's answer: the loop of a stage, as one pure function.
//
// A stage with tools and an output schema runs in two phases. While it works, the model may call tools freely and the
// schema is not applied: an engine that must emit the final JSON cannot call a tool, and then claims effects that never
// happened. Once it stops asking for tools, the answer either matches already, or a final turn asks for it under the
// schema and without tools. Repair turns are bounded.

import { StageError, type Issue, type OrlaError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChatResult } from '../schema/chat.ts'
import { parseJson } from '../schema/json.ts'
import { assistant, user, type AssistantMessage, type Message } from '../schema/message.ts'
import { check, type Checked } from '../schema/standard.ts'
import type { ToolCall } from '../schema/message.ts'
import type { StageDefinition } from './definition.ts'

/** `work`: tools are offered. `answer`: the final answer is due, under the output schema if there is one. */
export type Phase = 'work' | 'answer'

/** Where a stage is in its loop. */
export interface LoopState {
  phase: Phase
  /** Turns taken, this one included. */
  turns: number
  /** Repair turns taken. */
  repairs: number
}

/** What a stage does after a turn. */
export type TurnDecision =
  | { next: 'tools'; calls: readonly ToolCall[]; reason: string }
  | { next: 'complete'; value: unknown; reason: string }
  | { next: 'continue'; phase: Phase; repair: boolean; add: readonly Message[]; reason: string }
  | { next: 'fail'; error: OrlaError }

/** The phase a stage begins in. */
export function firstPhase(stage: StageDefinition): Phase {
  return stage.tools.size > 0 ? 'work' : 'answer'
}

/**
 * The model's answer as a message of the conversation.
 *
 * Calls that no tool answers are left out: engines refuse a conversation that holds one. In the answer phase none is
 * made, also for an engine that asks for tools against its orders.
 */
export function answerMessage(result: ChatResult, phase: Phase): AssistantMessage {
  if (result.span !== undefined) return { role: 'assistant', content: result.content, span: result.span }
  return result.toolCalls.length === 0 || phase === 'answer'
    ? assistant(result.content)
    : { role: 'assistant', content: result.content, toolCalls: result.toolCalls }
}

/**
 * Decides what follows from an answer. A promise only if the output schema checks asynchronously.
 *
 * Errors: `ORLA_STAGE_REFUSED`, `ORLA_STAGE_TRUNCATED`, `ORLA_STAGE_MAX_TURNS`, `ORLA_STAGE_OUTPUT`.
 */
export function decideTurn(
  stage: StageDefinition,
  state: LoopState,
  result: ChatResult,
): TurnDecision | Promise<TurnDecision> {
  if (result.refusal !== undefined || result.finishReason === 'content_filter') {
    return fail('ORLA_STAGE_REFUSED', `stage "${stage.name}": the model refused: ${result.refusal ?? 'content filter'}`)
  }
  const truncated = result.finishReason === 'length'
  if (truncated && (stage.truncation === 'fail' || result.toolCalls.length > 0)) {
    return fail(
      'ORLA_STAGE_TRUNCATED',
      `stage "${stage.name}": the answer was cut by the token limit${result.toolCalls.length > 0 ? ' in the middle of a tool call' : ''}; raise maxTokens`,
    )
  }
  // A model may call tools that nobody offered: it is told so, like of any unknown tool.
  if (result.toolCalls.length > 0 && (state.phase === 'work' || stage.output === undefined)) {
    return state.turns >= stage.turnsMax
      ? fail(
          'ORLA_STAGE_MAX_TURNS',
          `stage "${stage.name}": the model still asks for tools after ${state.turns} turns; raise turnsMax or make the task smaller`,
          { turns: state.turns, turnsMax: stage.turnsMax },
        )
      : { next: 'tools', calls: result.toolCalls, reason: `${result.toolCalls.length} tool call(s)` }
  }
  if (stage.output === undefined) {
    const reason = truncated ? 'answered, cut by the token limit' : 'answered'
    return { next: 'complete', value: result.content, reason }
  }
  const parsed = parseAnswer(result.content)
  if (!parsed.ok) {
    const message = `the answer is not JSON: ${parsed.message}${truncated ? ' (it was cut by the token limit)' : ''}`
    return afterMismatch(stage, state, result, [{ path: 'output', code: 'not_json', message }])
  }
  const checked = check(stage.output.schema, parsed.value, 'output')
  const conclude = (outcome: Checked): TurnDecision =>
    outcome.ok
      ? { next: 'complete', value: outcome.value, reason: 'answer matches the output schema' }
      : afterMismatch(stage, state, result, outcome.issues)
  return checked instanceof Promise ? checked.then(conclude) : conclude(checked)
}

/** Models like to wrap JSON in a code fence when nothing constrains them. */
function parseAnswer(content: string): ReturnType<typeof parseJson> {
  const fenced = /^\s*```(?:json)?\s*\n([\s\S]*?)\n?```\s*$/.exec(content)
  return parseJson(fenced?.[1] ?? content)
}

function afterMismatch(
  stage: StageDefinition,
  state: LoopState,
  result: ChatResult,
  issues: readonly Issue[],
): TurnDecision {
  const said = answerMessage(result, state.phase)
  if (state.phase === 'work') {
    const ask = user('Now give your final answer, and nothing else, as JSON that matches the required schema.')
    return {
      next: 'continue',
      phase: 'answer',
      repair: false,
      add: [said, ask],
      reason: 'final answer under the schema',
    }
  }
  const listed = issues.slice(0, 20).map((issue) => `- ${issue.path}: ${issue.message}`)
  if (state.repairs >= stage.repairTurns) {
    return fail(
      'ORLA_STAGE_OUTPUT',
      `stage "${stage.name}": no answer matched the output schema after ${state.repairs} repair turn(s):\n${listed.join('\n')}`,
      { issues: issues.slice(0, limits.issuesMax), repairTurns: stage.repairTurns },
    )
  }
  const ask = user(
    `Your answer does not match the required schema:\n${listed.join('\n')}\nAnswer again, with JSON that matches and nothing else.`,
  )
  return {
    next: 'continue',
    phase: 'answer',
    repair: true,
    add: [said, ask],
    reason: `repair: ${listed[0] ?? 'mismatch'}`,
  }
}

function fail(
  code: ConstructorParameters<typeof StageError>[0],
  message: string,
  details?: Record<string, unknown>,
): TurnDecision {
  return { next: 'fail', error: new StageError(code, message, details === undefined ? {} : { details }) }
}
