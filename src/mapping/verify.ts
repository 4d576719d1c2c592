// Checks that a backend can serve a stage: before a run for explicit mappings, at once for a mapper's decisions.

import type { Issue } from '../errors.ts'
import type { BackendView, StageRequirements } from './mapper.ts'

/**
 * Everything that stands against running a stage on a backend. Empty means it can run.
 *
 * What is not known (models before a probe, context length) is not held against the backend.
 * Source: paper, section 2.2 "Stage Mapper" (explicit mapping verifies backend and parameters before execution).
 *
 * @param path - where the stage is, for the issues: `stages.reply`
 */
export function verifyMapping(requirements: StageRequirements, backend: BackendView, path: string): Issue[] {
  const { capabilities } = backend
  const issues: Issue[] = []
  const model = requirements.model ?? backend.model
  if (capabilities.models !== undefined && !capabilities.models.includes(model)) {
    const served = capabilities.models.slice(0, 8).join(', ')
    issues.push({
      path: `${path}.model`,
      code: 'model_not_served',
      message: `backend "${backend.name}" does not serve model "${model}"; it serves: ${served === '' ? 'none' : served}`,
    })
  }
  if (requirements.tools && !capabilities.tools) {
    issues.push({
      path: `${path}.tools`,
      code: 'tools_unsupported',
      message: `backend "${backend.name}" (${capabilities.engine}) takes no tools; map the stage elsewhere or drop its tools`,
    })
  }
  if (requirements.jsonSchema && !capabilities.jsonSchema) {
    issues.push({
      path: `${path}.output`,
      code: 'json_schema_unsupported',
      message: `backend "${backend.name}" (${capabilities.engine}) takes no JSON Schema; map the stage elsewhere or drop its output schema`,
    })
  }
  if (
    requirements.maxTokens !== undefined &&
    capabilities.contextLength !== undefined &&
    requirements.maxTokens >= capabilities.contextLength
  ) {
    issues.push({
      path: `${path}.maxTokens`,
      code: 'exceeds_context',
      message: `${requirements.maxTokens} tokens of answer leave no room for a prompt in the context of ${capabilities.contextLength} tokens of backend "${backend.name}"`,
    })
  }
  return issues
}
