// What the terminal at the other end can do.

/** The environment variables that are asked. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Whether to use colours: `--no-color`, then NO_COLOR, then FORCE_COLOR, then TERM=dumb, then whether it is a terminal.
 * See no-color.org and force-color.org: an empty variable says nothing.
 */
export function wantsColor(env: Environment, options: { isTty: boolean; noColor: boolean }): boolean {
  if (options.noColor || isSet(env['NO_COLOR'])) return false
  const force = env['FORCE_COLOR']
  if (isSet(force)) return force !== '0' && force !== 'false'
  return options.isTty && env['TERM'] !== 'dumb'
}

/** Whether characters beyond ASCII arrive: the locale says so. Windows and macOS have it where nothing is said. */
export function hasUnicode(env: Environment, platform: string): boolean {
  const locale = [env['LC_ALL'], env['LC_CTYPE'], env['LANG']].find(isSet)
  if (locale === undefined) return platform === 'win32' || platform === 'darwin'
  return /utf-?8/i.test(locale)
}

/** Whether a screen can be redrawn in place. */
export function canRedraw(env: Environment, isTty: boolean): boolean {
  return isTty && env['TERM'] !== 'dumb'
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== ''
}
