// Presets of agents: sessions whose context grows turn by turn.

import type { Random } from '../../../clock.ts'
import { byPercentiles, lognormal, lognormalByMean, weighted, whole } from '../distributions.ts'
import { sessionRun, type WorkloadTurn } from '../workload.ts'
import type { Preset } from './preset.ts'

/** Percentiles of 43,818 requests of 676 Claude Code sessions (callanjfox/kv-cache-tester, Apache-2.0). */
const claude = {
  /** Tools (median 12,439) and system prompt (2,774), which all sessions begin with. */
  prefixTokens: 15_213,
  turns: byPercentiles([4, 17, 44, 90, 146, 342], { min: 1, max: 500 }),
  /** Tokens of the first prompt. Sessions that were taken up again begin with a long one. */
  start: byPercentiles([13_048, 18_587, 23_429, 106_576, 258_855, 720_472], { min: 13_000, max: 720_472 }),
  /**
   * New tokens of a turn. The last percentile is that of the context's growth: the trace's own, 56,080, is of turns
   * whose cache had expired, which is for the engine's cache to decide here.
   */
  fresh: byPercentiles([188, 369, 706, 1_717, 4_257, 16_556], { min: 16, max: 60_000 }),
  output: byPercentiles([88, 139, 217, 427, 882, 3_676], { min: 10, max: 16_000 }),
  /** Between turns, seconds: tools and people. */
  thinkSeconds: byPercentiles([3, 6, 10, 35, 171, 2_947], { min: 0.5, max: 10_000 }),
  /** Share of turns that begin with all of the prompt before, and of those whose context is cut down. */
  appendShare: 0.978,
  shrinkShare: 0.009,
}
/** Tokens that a context is cut down to besides tools and system prompt: assumed, a summary. */
const summaryTokens = lognormal(8_000, 0.5, 30_000)

/**
 * A coding agent with people at it: published percentiles of Claude Code sessions. A turn begins with the whole prompt
 * before it in 97.8 % of cases; in 0.9 % the context is cut down to tools, system prompt and a summary; in the others
 * the session goes back to somewhere in its second half (where is assumed). Turns are drawn independently.
 */
export const claudeCode: Preset = {
  source: 'Claude Code sessions (callanjfox/kv-cache-tester), published statistics',
  sessionsDefault: 100,
  runs({ sessions, random }) {
    const counts = random('turns')
    return Array.from({ length: sessions }, (_, i) => {
      const id = `claude-code-${i + 1}`
      return sessionRun(id, claudeTurns(id, whole(claude.turns(counts)), random(id)))
    })
  },
}

function claudeTurns(id: string, count: number, random: Random): WorkloadTurn[] {
  const { prefixTokens } = claude
  const prefix = { stream: 'claude-code tools and system', from: 0, to: prefixTokens }
  let promptTokens = 0
  return Array.from({ length: count }, (_, k): WorkloadTurn => {
    const own = (tokens: number): WorkloadTurn['fresh'][number] => ({ stream: `${id}#${k}`, from: 0, to: tokens })
    const answer = { outputTokens: whole(claude.output(random)), waitFor: 'user-or-tool' }
    if (k === 0) {
      const begin = own(whole(claude.start(random) - prefixTokens, 200))
      promptTokens = prefixTokens + begin.to
      return { shared: 0, fresh: [prefix, begin], waitMs: 0, ...answer }
    }
    const waitMs = claude.thinkSeconds(random) * 1_000
    const way = random()
    let shared = promptTokens
    let fresh = whole(claude.fresh(random))
    if (way >= claude.appendShare) {
      const shrinks = way >= 1 - claude.shrinkShare
      shared = shrinks ? prefixTokens : whole(promptTokens * (0.5 + random() / 2), prefixTokens)
      if (shrinks) fresh = whole(summaryTokens(random))
    }
    promptTokens = shared + fresh
    return { shared, fresh: [own(fresh)], waitMs, ...answer }
  })
}

/** Tool calls of 7,907 recorded SWE-smith steps by class (Whrlicht/vllm-continuum): share, median and mean seconds. */
const tools = [
  { name: 'editor', share: 0.543, seconds: () => 0.0002 },
  { name: 'submit', share: 0.0645, seconds: () => 0 },
  { name: 'light-bash', share: 0.131, seconds: lognormalByMean(0.19, 0.2) },
  { name: 'normal-bash', share: 0.0496, seconds: lognormalByMean(0.424, 0.726) },
  { name: 'heavy-bash', share: 0.2118, seconds: lognormalByMean(0.488, 4.947) },
] as const
const toolsByShare = tools.map((tool) => [tool, tool.share] as const)
/** Longest tool call, seconds: twice the mean of the slowest kind that was published (`pip install -e`). */
const toolSecondsMax = 160
const sweTurnsMax = 75
/** Assumed: instructions and tools of a small agent, the issue, what a tool returns. */
const sweSystemTokens = 2_000
const issueTokens = lognormal(1_500, 0.7, 12_000)
const observationTokens = lognormal(350, 1.1, 10_000)

/**
 * A coding agent without people: tool times and mix of SWE-smith, answers as long as Claude Code's. A session ends with
 * the call of `submit`, which the published mix makes one call in 15.5. Lengths of prompts are assumed.
 */
export const sweAgent: Preset = {
  source: 'SWE-smith tool times (Whrlicht/vllm-continuum); prompt lengths assumed',
  sessionsDefault: 100,
  runs({ sessions, random }) {
    return Array.from({ length: sessions }, (_, i) => {
      const id = `swe-agent-${i + 1}`
      return sessionRun(id, sweTurns(id, random(id)))
    })
  },
}

function sweTurns(id: string, random: Random): WorkloadTurn[] {
  const system = { stream: 'swe-agent tools and system', from: 0, to: sweSystemTokens }
  const issue = { stream: `${id}#0`, from: 0, to: whole(issueTokens(random)) }
  let outputTokens = whole(claude.output(random))
  const turns: WorkloadTurn[] = [{ shared: 0, fresh: [system, issue], outputTokens, waitMs: 0, waitFor: 'user' }]
  let contextTokens = sweSystemTokens + issue.to + outputTokens
  while (turns.length < sweTurnsMax) {
    const tool = weighted(random, toolsByShare)
    if (tool.name === 'submit') break
    const observation = whole(observationTokens(random))
    outputTokens = whole(claude.output(random))
    turns.push({
      // The agent sends back what the model said, word by word.
      shared: contextTokens,
      fresh: [{ stream: `${id}#${turns.length}`, from: 0, to: observation }],
      outputTokens,
      waitMs: Math.min(toolSecondsMax, tool.seconds(random)) * 1_000,
      waitFor: tool.name,
    })
    contextTokens += observation + outputTokens
  }
  return turns
}
