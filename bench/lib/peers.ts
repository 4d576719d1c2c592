// What benches compare with: packages of bench/peers, which has its own list and lock file.

import { existsSync, readFileSync } from 'node:fs'

const folders = { peers: new URL('../peers/', import.meta.url), project: new URL('../../', import.meta.url) }

/** How to install the peers; notes of benches say it where one is missing. */
export const howToInstall = 'npm ci --prefix bench/peers'

/** The version of an installed package, or undefined. */
export function installedVersion(name: string, where: keyof typeof folders): string | undefined {
  const url = new URL(`node_modules/${name}/package.json`, folders[where])
  if (!existsSync(url)) return undefined
  const { version } = JSON.parse(readFileSync(url, 'utf8')) as { version: string }
  return version
}
