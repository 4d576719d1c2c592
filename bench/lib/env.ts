// Where figures come from. They mean nothing without it.

import { execFileSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'

/** The machine, the runtime and the commit of a run. */
export interface BenchEnv {
  node: string
  cpu: string
  cores: number
  /** Load average of the last minute when the run began: much above zero means that others were measured too. */
  loadAverage: number
  /** `unknown` outside a git checkout. */
  commit: string
  /** ISO 8601, UTC. */
  date: string
}

/** Describes this machine and this moment. */
export function describeEnv(): BenchEnv {
  const processors = cpus()
  return {
    node: process.version,
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    loadAverage: Number((loadavg()[0] ?? 0).toFixed(2)),
    commit: currentCommit(),
    date: new Date().toISOString(),
  }
}

function currentCommit(): string {
  try {
    const output = execFileSync('git', ['rev-parse', 'HEAD'], {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 5_000,
    })
    return output.trim()
  } catch {
    return 'unknown'
  }
}
