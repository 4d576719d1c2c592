// The screen: a view state and a size give lines. Pure; what it looks like in colours is decided later.

import { dagLines } from './dag.ts'
import type { LogEntry, Topic } from './describe.ts'
import { count, duration, moment } from './format.ts'
import { fit, lineWidth, pad, span, truncate, widthOf, wrap, type Line } from './line.ts'
import { tableLines, type Column } from './table.ts'
import { runRole, stageLook } from './theme.ts'
import { tokensPerSecond, type BackendView, type StageView, type ViewState } from './view-model.ts'

/** How much room there is, and what to show in it. */
export interface Frame {
  /** Columns. Below 40 lines are cut as if there were 40. */
  width: number
  /** Rows at most. */
  height: number
  /** Milliseconds since the run started. */
  nowMs: number
  /** Topics of the log that are shown. */
  topics: ReadonlySet<Topic>
}

const widthMin = 40
const ticketLinesMax = 2
const logLinesMin = 4
/** Stages whose running answers are shown. */
const answersMax = 3
/** Rows of the table of stages; more are counted. */
const tableRowsMax = 12

/** The lines of one screen. */
export function renderFrame(state: ViewState, frame: Frame): Line[] {
  const width = Math.max(widthMin, frame.width)
  const head = [heading(state, frame.nowMs, width)]
  if (state.note !== undefined) head.push(fit([span(state.note, 'accent')], width))
  head.push(...ticketLines(state.ticket, width))

  const dag = dagLines(state.stages, width).slice(0, tableRowsMax)
  const table = stageTable(state.stages, frame.nowMs, width)
  const backends = backendLines(state.backends, width)
  const answers = answerLines(state.stages, width)

  // Blank lines go first where rows are few, then the drawing: the table says all of it in numbers.
  const fixed = head.length + table.length + backends.length + answers.length
  const withDag = fixed + dag.length + logLinesMin <= frame.height
  const blocks = [head, ...(withDag ? [dag] : []), table, backends]
  const used = fixed + (withDag ? dag.length : 0)
  const airy = used + blocks.length + logLinesMin <= frame.height
  const logRows = Math.max(1, frame.height - used - (airy ? blocks.length : 0))
  const log = logLines(state.log, frame.topics, width, logRows)

  const lines = [...blocks, log].flatMap((block, index) => (airy && index > 0 ? [[], ...block] : block))
  return [...lines, ...answers].slice(0, frame.height)
}

function heading(state: ViewState, nowMs: number, width: number): Line {
  const left = [span('orla', 'strong'), span(`  ${state.workflow}  `), span(state.runId ?? '', 'quiet')]
  const right = [span(state.state, runRole(state.state)), span(`  ${duration(nowMs)}`)]
  const space = width - lineWidth(left) - lineWidth(right)
  return fit([...left, span(' '.repeat(Math.max(2, space))), ...right], width)
}

function ticketLines(ticket: string, width: number): Line[] {
  const label = 'Ticket  '
  const text = ticket.replace(/\s+/g, ' ').trim()
  return wrap(text, width - label.length, ticketLinesMax).map((line, index) => [
    span(index === 0 ? label : ' '.repeat(label.length), 'quiet'),
    span(line),
  ])
}

/** The figures of all stages. */
function stageTable(stages: readonly StageView[], nowMs: number, width: number): Line[] {
  const shown = stages.slice(0, tableRowsMax)
  const numbers = (title: string, dropRank: number, valueOf: (stage: StageView) => string): Column => ({
    title,
    align: 'right',
    dropRank,
    cells: shown.map((stage) => ({ text: valueOf(stage) })),
  })
  const columns: Column[] = [
    {
      title: 'stage',
      align: 'left',
      dropRank: 0,
      cells: shown.map(({ name, state }) => ({
        text: `${stageLook(state).glyph} ${truncate(name, 24)}`,
        role: stageLook(state).role,
      })),
    },
    {
      title: 'state',
      align: 'left',
      dropRank: 8,
      cells: shown.map(({ state }) => ({ text: state, role: stageLook(state).role })),
    },
    {
      title: 'backend',
      align: 'left',
      dropRank: 5,
      cells: shown.map(({ backend }) => ({ text: truncate(backend ?? '-', 16) })),
    },
    {
      title: 'model',
      align: 'left',
      dropRank: 7,
      cells: shown.map(({ model }) => ({ text: truncate(model ?? '-', 20) })),
    },
    numbers('turn', 4, ({ turn }) => (turn === 0 ? '-' : String(turn))),
    numbers('queue', 0, (stage) => (stage.turn === 0 ? '-' : duration(stage.queueWaitMs))),
    numbers('ttft', 0, ({ ttftMs }) => (ttftMs === null ? '-' : duration(ttftMs))),
    numbers('tok/s', 6, (stage) => tokensPerSecond(stage, nowMs)?.toFixed(0) ?? '-'),
    numbers('prompt', 1, ({ promptTokens }) => count(promptTokens)),
    numbers('cached', 2, ({ cachedTokens }) => count(cachedTokens)),
    numbers('out', 3, ({ completionTokens }) => count(completionTokens)),
  ]
  const lines = tableLines(columns, width)
  const more = stages.length - shown.length
  return more > 0 ? [...lines, [span(`and ${more} more stages`, 'quiet')]] : lines
}

function backendLines(backends: readonly BackendView[], width: number): Line[] {
  const nameWidth = Math.max(...backends.map(({ name }) => widthOf(truncate(name, 16))))
  const modelWidth = Math.max(...backends.map(({ model }) => widthOf(truncate(model, 24))))
  return backends.map((backend) => {
    const slots = Math.min(backend.windowRequests, 16)
    const used = Math.min(slots, backend.inFlight.length)
    const waiting = Math.min(10, backend.waiting.length)
    return fit(
      [
        span(`${pad(backend.name, nameWidth)}  `, 'strong'),
        span(`${pad(backend.model, modelWidth)}  `, 'quiet'),
        span('█'.repeat(used), 'busy'),
        span('░'.repeat(slots - used), 'quiet'),
        span('▒'.repeat(waiting), 'waiting'),
        span(`  ${backend.inFlight.length} of ${backend.windowRequests} slots, ${backend.waiting.length} queued`),
        span(backend.residentTokens > 0 ? `, ${count(backend.residentTokens)} tokens in its cache` : '', 'accent'),
        span(backend.cacheNote === undefined ? '' : `  ${backend.cacheNote}`, 'quiet'),
      ],
      width,
    )
  })
}

/** One entry of the log as a line. */
function logLine({ atMs, stage, text, role }: LogEntry, stageWidth: number, width: number): Line {
  return fit(
    [span(`${moment(atMs).padStart(7)}  `, 'quiet'), span(`${pad(stage ?? 'run', stageWidth)}  `), span(text, role)],
    width,
  )
}

function logLines(log: readonly LogEntry[], topics: ReadonlySet<Topic>, width: number, rows: number): Line[] {
  const entries = log.filter(({ topic }) => topics.has(topic)).slice(-rows)
  const stageWidth = Math.max(3, ...entries.map(({ stage }) => Math.min(20, widthOf(stage ?? ''))))
  return entries.map((entry) => logLine(entry, stageWidth, width))
}

function answerLines(stages: readonly StageView[], width: number): Line[] {
  const speaking = stages.filter(({ state, text }) => state === 'inferring' && text !== '').slice(0, answersMax)
  return speaking.map(({ name, text }) => {
    const label = `▸ ${truncate(name, 20)}  `
    const room = width - widthOf(label)
    const line = text.replace(/\s+/g, ' ').trim()
    return [span(label, 'busy'), span(endOf(line, room))]
  })
}

/** The end of a text in at most `width` columns. */
function endOf(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  const words = text.slice(-width * 2)
  for (let start = 1; start < words.length; start++) {
    // A low surrogate is no place to begin.
    if (words.charCodeAt(start) >= 0xdc00 && words.charCodeAt(start) <= 0xdfff) continue
    if (widthOf(words.slice(start)) < width) return `…${words.slice(start)}`
  }
  return ''
}
