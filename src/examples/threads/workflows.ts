// A module for runner threads: every thread imports it, and finds workflows and backends by their names.

import { simulated, user, workflow } from '../../index.ts'

/** Backends: each thread connects for itself. Simulated engines are served once, and all threads speak to that one. */
export const backends = { main: simulated({ model: 'qwen3-8b' }) }

/** Two stages, one after the other. */
export const summary = workflow('summary')
  .stage('draft', { backend: 'main', maxTokens: 24, prompt: () => [user('Summarize the minutes.')] })
  .stage('edit', {
    after: ['draft'],
    backend: 'main',
    maxTokens: 24,
    prompt: ({ results }) => [user(`Make this shorter: ${results.draft}`)],
  })
  .output(({ results }) => results.edit)
