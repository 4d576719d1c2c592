// Which Node this needs. Imports nothing: it must load on versions on which nothing else does.

/**
 * What is wrong with a version of Node, in one line, or undefined if it will do.
 *
 * @param version - as `process.versions.node` has it: `24.1.0`
 */
export function nodeProblem(version: string): string | undefined {
  if (Number.parseInt(version, 10) >= 24) return undefined
  return (
    `orla needs Node 24 or later, this is Node ${version}. ` +
    'In its checkout "npm ci" brings Node 24 along: use "npm start" or "npm run orla -- <command>". ' +
    'Elsewhere: "npx --package=node@24 --package=orla orla <command>".'
  )
}
