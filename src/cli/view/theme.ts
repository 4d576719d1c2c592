// Looks: which glyph and colour states and roles have, and what remains of them without colours or Unicode.

import type { RunState, StageState } from '../../index.ts'
import { span, type Line, type Role, type Span } from './line.ts'

/** Select-graphic-rendition codes: 16 colours only, which every terminal theme makes readable. */
const codes: Record<Role, string> = {
  plain: '',
  strong: '1',
  quiet: '2',
  accent: '35',
  ok: '32',
  busy: '36',
  waiting: '33',
  bad: '31',
}

const looks: Record<StageState, { glyph: string; role: Role }> = {
  pending: { glyph: '○', role: 'quiet' },
  mapping: { glyph: '◌', role: 'accent' },
  building: { glyph: '◌', role: 'accent' },
  queued: { glyph: '◔', role: 'waiting' },
  inferring: { glyph: '●', role: 'busy' },
  validating: { glyph: '◑', role: 'busy' },
  tooling: { glyph: '◆', role: 'accent' },
  waiting: { glyph: '◔', role: 'waiting' },
  completed: { glyph: '✓', role: 'ok' },
  failed: { glyph: '✗', role: 'bad' },
  skipped: { glyph: '–', role: 'quiet' },
  cancelled: { glyph: '×', role: 'bad' },
}

/** Glyph and role of a stage's state. */
export function stageLook(state: StageState): { glyph: string; role: Role } {
  return looks[state]
}

/** Role of a run's state. */
export function runRole(state: RunState): Role {
  if (state === 'completed') return 'ok'
  if (state === 'pending') return 'quiet'
  return state === 'running' ? 'busy' : 'bad'
}

/** What stands in for a character where only ASCII is safe. One column each, so that nothing moves. */
const ascii: Record<string, string> = {
  '○': '.',
  '◌': '~',
  '◔': '>',
  '●': '*',
  '◑': '%',
  '◆': '#',
  '✓': '+',
  '✗': '!',
  '–': '-',
  '—': '-',
  '×': 'x',
  '…': '~',
  '─': '-',
  '│': '|',
  '┬': '+',
  '┴': '+',
  '├': '+',
  '┤': '+',
  '┼': '+',
  '┐': '+',
  '┘': '+',
  '┌': '+',
  '└': '+',
  '█': '#',
  '▒': '+',
  '░': '.',
  '▸': '>',
  '→': '>',
  '←': '<',
  '·': '-',
  '‘': "'",
  '’': "'",
  '“': '"',
  '”': '"',
}

/** A line in ASCII: accents go, and what has no counterpart becomes a question mark. */
export function toAscii(line: Line): Line {
  return line.map(({ text, role }) =>
    span(
      text.replace(/[^\n -~]/gu, (character) => {
        const known = ascii[character]
        if (known !== undefined) return known
        const plain = character.normalize('NFKD').replace(/\p{M}/gu, '')
        return /^[ -~]+$/.test(plain) ? plain : '?'
      }),
      role,
    ),
  )
}

/** What a terminal can show. */
export interface Look {
  color: boolean
  unicode: boolean
}

/** A line as text for a terminal. */
export function paint(line: Line, look: Look): string {
  const shown = trimmed(look.unicode ? line : toAscii(line))
  return look.color ? shown.map(paintSpan).join('') : shown.map(({ text }) => text).join('')
}

/** A line without spaces at its end. */
function trimmed(line: Line): Line {
  const kept = line.findLastIndex(({ text }) => text.trim() !== '')
  return line
    .slice(0, kept + 1)
    .map((piece, index) => (index === kept ? span(piece.text.trimEnd(), piece.role) : piece))
}

function paintSpan({ text, role }: Span): string {
  const code = codes[role]
  return code === '' || text === '' ? text : `\u001b[${code}m${text}\u001b[0m`
}
