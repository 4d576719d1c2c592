// Customer support: classify, then decide by policy and route to a team at the same time, then reply.

import { StageError, workflow, type Workflow } from '../../index.ts'
import { checkEffects, customerEmail } from './check-effects.ts'
import type { SupportDesk } from './desk.ts'
import { classifyPrompt, policyPrompt, replyPrompt, routePrompt } from './prompts.ts'
import { Classification, Decision, Reply, Ticket, type Effects, type SupportResult } from './schemas.ts'
import { supportTools } from './tools.ts'

/** Without thinking Qwen3 answers such tasks as well, in a fraction of the tokens. Other engines ignore it. */
const noThinking = { enable_thinking: false }

/** Scheduling priority of everything that follows triage: people who cannot pay or work come first. */
function urgency({ results }: { readonly results: { readonly classify: Classification } }): number {
  const { category, needs_escalation: escalated } = results.classify
  return (category === 'billing' || category === 'technical' ? 8 : 5) + (escalated ? 1 : 0)
}

/**
 * The support workflow over a desk. It needs backends named `light` and `heavy`.
 *
 * A run whose stages claim what their tools did not do fails: see {@link checkEffects}.
 */
export function supportWorkflow(desk: SupportDesk): Workflow<Ticket, SupportResult> {
  const tools = supportTools(desk)
  return workflow('customer-support', { input: Ticket })
    .stage('classify', {
      backend: 'light',
      output: Classification,
      temperature: 0,
      maxTokens: 512,
      prompt: ({ input }) => classifyPrompt(input),
    })
    .stage('policy_check', {
      after: ['classify'],
      backend: 'heavy',
      tools: { read_policy: tools.read_policy },
      output: Decision,
      priority: urgency,
      temperature: 0,
      maxTokens: 1024,
      turnsMax: 5,
      chatTemplateArguments: noThinking,
      prompt: ({ input, results }) => policyPrompt(input, results.classify),
    })
    .stage('route_ticket', {
      after: ['classify'],
      backend: 'heavy',
      tools: { read_teams: tools.read_teams, send_ticket: tools.send_ticket, send_email: tools.email_team },
      priority: urgency,
      temperature: 0,
      maxTokens: 1024,
      turnsMax: 10,
      chatTemplateArguments: noThinking,
      prompt: ({ input, results }) => routePrompt(input, results.classify),
    })
    .stage('reply', {
      after: ['classify', 'policy_check'],
      backend: 'heavy',
      tools: { send_email: tools.email_customer },
      output: Reply,
      priority: urgency,
      temperature: 0.3,
      maxTokens: 1024,
      turnsMax: 5,
      chatTemplateArguments: noThinking,
      prompt: ({ input, results }) => replyPrompt(input, results.classify, results.policy_check),
    })
    .output(({ results, runId, stages }) => {
      const effects = desk.effectsOf(runId)
      const issues = checkEffects({ results, stages }, effects)
      if (issues.length === 0) return resultOf(results, effects)
      const listed = issues.map(({ path, message }) => `  ${path}: ${message}`).join('\n')
      throw new StageError('ORLA_STAGE_OUTPUT', `stages claim what their tools did not do\n${listed}`, {
        details: { issues },
      })
    })
}

function resultOf(
  results: { classify: Classification; policy_check: Decision; reply: Reply },
  effects: Effects,
): SupportResult {
  const { classify: classification, policy_check: decision, reply } = results
  const email = customerEmail(effects) ?? null
  return {
    status: email === null ? 'unanswered' : statusOf(classification, decision),
    classification,
    decision,
    // checkEffects found exactly one.
    ticket: effects.tickets[0]!,
    email,
    summary: reply.summary,
  }
}

function statusOf(classification: Classification, { decision }: Decision): SupportResult['status'] {
  if (classification.needs_escalation) return 'escalated'
  return decision === 'accept' ? 'accepted' : 'denied'
}
