// What is said when a run is over: result, effects, a table with the time line, the critical path, totals.

import { criticalPath, type Issue, type RunOutcome, type StageReport } from '../../index.ts'
import { compactJson, count, duration, percent } from './format.ts'
import { pad, span, widthOf, wrap, type Line, type Role } from './line.ts'
import { oneLine, sanitize } from './sanitize.ts'
import { tableLines, type Column } from './table.ts'
import { stageLook } from './theme.ts'
import type { RunPlan } from './view-model.ts'

/** What a run's tools did outside. */
export interface Effects {
  emails: readonly object[]
  tickets: readonly object[]
}

/** A run that is over. */
export interface Ended {
  outcome: RunOutcome
  effects: Effects
  /** Claims of stages that no tool call bears out. */
  issues: readonly Issue[]
}

/** Columns of the time line. */
const barWidth = 24
/** Rows of the table; more are counted. */
const rowsMax = 40
/** Lines of one value that are shown. */
const valueLinesMax = 8
/** Effects of a kind that are shown. */
const effectsMax = 10

/** The lines that sum a run up. */
export function summaryLines(plan: RunPlan, ended: Ended, width: number): Line[] {
  const { outcome, effects, issues } = ended
  const lines: Line[] = []
  const title = (text: string, role: Role = 'strong'): void => void lines.push([], [span(text, role)])

  if (outcome.state === 'completed') {
    title('Result')
    lines.push(...valueLines(withoutEffects(outcome.result, effects), width))
  } else {
    title(`The run ${outcome.state === 'cancelled' ? 'was cancelled' : 'failed'}`, 'bad')
    const message = `${outcome.error?.message ?? ''} [${outcome.error?.code ?? ''}]`
    lines.push(...indented(sanitize(message), width, 20))
  }
  if (effects.emails.length + effects.tickets.length > 0) {
    title('Effects')
    lines.push(...effectLines('email', effects.emails, width), ...effectLines('ticket', effects.tickets, width))
  }
  if (issues.length > 0) {
    title('Claims that no tool call bears out', 'bad')
    for (const { path, message } of issues) lines.push(...indented(`${oneLine(path)}: ${oneLine(message)}`, width, 4))
  }
  title('Stages')
  const path = pathOf(plan, outcome)
  lines.push(...stageLines(outcome, new Set(path), width))
  lines.push([], ...totals(outcome, path, width))
  return lines
}

function indented(text: string, width: number, linesMax: number): Line[] {
  return wrap(text, width - 2, linesMax).map((line) => [span(`  ${line}`)])
}

/** Levels of objects within objects that are taken apart; deeper ones are shown as JSON. */
const levelsMax = 2

/** A value for people: objects as a list of fields, everything else as its text. */
export function valueLines(value: unknown, width: number, level = 1): Line[] {
  if (typeof value === 'string') return indented(sanitize(value), width, valueLinesMax)
  if (!isRecord(value)) return indented(sanitize(compactJson(value)), width, valueLinesMax)
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  const nameWidth = Math.min(24, Math.max(0, ...fields.map(([name]) => widthOf(oneLine(name)))))
  return fields.flatMap(([name, field]) => {
    const label = `  ${pad(oneLine(name), nameWidth)}  `
    const indent = ' '.repeat(widthOf(label))
    if (isRecord(field) && level < levelsMax) {
      const inner = valueLines(field, width - 2, level + 1)
      return [[span(label.trimEnd(), 'quiet')], ...inner.map((line): Line => [span('  '), ...line])]
    }
    const text = typeof field === 'string' ? sanitize(field).trim() : oneLine(compactJson(field))
    return wrap(text, width - widthOf(label), valueLinesMax).map((line, index): Line => [
      span(index === 0 ? label : indent, 'quiet'),
      span(line),
    ])
  })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A result whose fields that are shown among the effects only point there. */
function withoutEffects(result: unknown, { emails, tickets }: Effects): unknown {
  if (!isRecord(result)) return result
  const places = new Map<string, string>()
  emails.forEach((email, index) => places.set(compactJson(email), `email ${index + 1} below`))
  tickets.forEach((ticket, index) => places.set(compactJson(ticket), `ticket ${index + 1} below`))
  return Object.fromEntries(
    Object.entries(result).map(([name, field]) => [
      name,
      isRecord(field) ? (places.get(compactJson(field)) ?? field) : field,
    ]),
  )
}

function effectLines(kind: string, effects: readonly object[], width: number): Line[] {
  const lines = effects
    .slice(0, effectsMax)
    .flatMap((effect, index) => [
      [span(`  ${kind} ${index + 1}`, 'ok')] as Line,
      ...valueLines(effect, width - 2).map((line) => [span('  '), ...line] as Line),
    ])
  const more = effects.length - effectsMax
  return more > 0 ? [...lines, [span(`  and ${more} more`, 'quiet')]] : lines
}

/** The chain of stages that decided how long the run took. */
function pathOf(plan: RunPlan, outcome: RunOutcome): string[] {
  return criticalPath(
    plan.stages.flatMap(({ name, after }) => {
      const report = outcome.stages[name]
      if (report === undefined || report.startedAtMs === null || report.endedAtMs === null) return []
      return [{ name, after, startedAtMs: report.startedAtMs, endedAtMs: report.endedAtMs }]
    }),
  )
}

function stageLines(outcome: RunOutcome, critical: ReadonlySet<string>, width: number): Line[] {
  const all = Object.entries(outcome.stages)
  const stages = all.slice(0, rowsMax)
  const column = (
    titleText: string,
    dropRank: number,
    textOf: (report: StageReport) => string,
    align: 'left' | 'right' = 'right',
  ): Column => ({
    title: titleText,
    align,
    dropRank,
    cells: stages.map(([, report]) => ({ text: textOf(report) })),
  })
  const columns: Column[] = [
    {
      title: '  stage',
      align: 'left',
      dropRank: 0,
      cells: stages.map(([name, { state }]) => {
        const { glyph, role } = stageLook(state)
        return { text: `  ${glyph} ${oneLine(name).slice(0, 24)}`, role }
      }),
    },
    {
      title: 'time',
      align: 'left',
      dropRank: 1,
      cells: stages.map(([name, report]) => ({
        text: bar(report, outcome.durationMs),
        role: critical.has(name) ? 'accent' : 'busy',
      })),
    },
    column('backend', 6, ({ backend }) => backend ?? '-', 'left'),
    column('turns', 5, ({ turns }) => String(turns.length)),
    column('tools', 7, ({ toolCalls }) => toolText(toolCalls)),
    column('queue', 4, ({ queueWaitMs, turns }) => (turns.length === 0 ? '-' : duration(queueWaitMs))),
    column('ttft', 2, ({ ttftMs }) => (ttftMs === null ? '-' : duration(ttftMs))),
    column('prompt', 0, ({ promptTokens }) => count(promptTokens)),
    column('cached', 0, ({ cachedTokens }) => count(cachedTokens)),
    column('out', 3, ({ completionTokens }) => count(completionTokens)),
  ]
  if (stages.some(([, { costUsd }]) => costUsd !== undefined)) {
    columns.push(column('cost', 1, ({ costUsd }) => (costUsd === undefined ? '-' : `$${costUsd.toPrecision(2)}`)))
  }
  const lines = tableLines(columns, width)
  const more = all.length - stages.length
  return more > 0 ? [...lines, [span(`  and ${more} more stages`, 'quiet')]] : lines
}

function toolText(calls: StageReport['toolCalls']): string {
  if (calls.length === 0) return '-'
  const failed = calls.filter(({ ok }) => !ok).length
  return failed === 0 ? String(calls.length) : `${calls.length}, ${failed} failed`
}

function bar({ startedAtMs, endedAtMs }: StageReport, durationMs: number): string {
  if (startedAtMs === null || durationMs <= 0) return '·'.repeat(barWidth)
  const start = Math.min(barWidth - 1, Math.floor((startedAtMs / durationMs) * barWidth))
  const end = Math.max(start + 1, Math.round(((endedAtMs ?? durationMs) / durationMs) * barWidth))
  return `${'·'.repeat(start)}${'█'.repeat(Math.min(end, barWidth) - start)}`.padEnd(barWidth, '·')
}

function totals(outcome: RunOutcome, path: readonly string[], width: number): Line[] {
  const reports = Object.values(outcome.stages)
  const sum = (valueOf: (report: StageReport) => number | null): number | null =>
    reports.reduce<number | null>((total, report) => {
      const value = valueOf(report)
      return value === null ? total : (total ?? 0) + value
    }, null)
  const prompt = sum(({ promptTokens }) => promptTokens)
  const cached = sum(({ cachedTokens }) => cachedTokens)
  const share = cached === null ? '' : percent(cached, prompt ?? 0)
  const requests = reports.reduce((total, { turns }) => total + turns.length, 0)
  const calls = reports.reduce((total, { toolCalls }) => total + toolCalls.length, 0)
  const texts = [
    ...(path.length > 0 ? [`critical path  ${path.map(oneLine).join(' → ')}`] : []),
    `time           ${duration(outcome.durationMs)}, ${requests} requests, ${calls} tool calls`,
    `tokens         ${count(prompt)} prompt, ${count(cached)} of them cached${share === '' ? '' : ` (${share})`}, ` +
      `${count(sum(({ completionTokens }) => completionTokens))} answered`,
    ...(outcome.costUsd === undefined ? [] : [`cost           $${outcome.costUsd.toPrecision(3)}`]),
  ]
  return texts.flatMap((text) => indented(text, width, 4))
}
