#!/usr/bin/env node
// The entry of the command line. It checks the version of Node before it loads anything that needs it.

import { nodeProblem } from './node-version.ts'

const problem = nodeProblem(process.versions.node)
if (problem === undefined) {
  const { main } = await import('./program.ts')
  process.exitCode = await main(process.argv.slice(2))
} else {
  process.stderr.write(`${problem}\n`)
  process.exitCode = 2
}
