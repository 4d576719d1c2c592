// The address of an engine: what a person writes, taken apart once.

/** Where an engine is. Paths have no slash at their end; the empty string is the root. */
export interface EngineUrl {
  /** Scheme, host and port: `http://localhost:8000`. */
  readonly origin: string
  /** Path before the version segment: where an engine keeps `/health` and its own endpoints. */
  readonly rootPath: string
  /** Path that `/chat/completions` and `/models` hang from: `/v1`, `/api/v1`, `/v1beta/openai`. */
  readonly apiPath: string
}

/** `v1`, `v4`, `v1beta`: a path that has such a segment already names the API. */
const versionSegment = /^v\d+[a-z]*\d*$/i

/**
 * Takes an engine's URL apart. With and without `/v1` at its end is the same; a path before it is kept, and so is all
 * after a version segment (`/v1beta/openai`). `/chat/completions` at the end is dropped.
 *
 * @returns the parts, or everything that is wrong with `text`; user names and passwords are never repeated
 */
export function parseEngineUrl(text: string): { ok: true; url: EngineUrl } | { ok: false; problems: string[] } {
  if (!URL.canParse(text)) {
    return { ok: false, problems: ['is not a URL: write it like http://localhost:8000 or https://host/v1'] }
  }
  const url = new URL(text)
  const problems: string[] = []
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    problems.push(`starts with "${url.protocol}", which is neither http: nor https: (write http://host:port)`)
  }
  if (url.username !== '' || url.password !== '') {
    problems.push('carries a user name or password: put the key into an environment variable and name it in apiKeyEnv')
  }
  if (url.search !== '') problems.push('has a query string: an engine is addressed by its path only')
  if (url.hash !== '') problems.push('has a fragment (#...): remove it')
  if (problems.length > 0) return { ok: false, problems }

  const path = url.pathname.replace(/\/+$/, '').replace(/\/chat\/completions$/, '')
  const segments = path.split('/')
  const version = segments.findIndex((segment) => versionSegment.test(segment))
  return {
    ok: true,
    url: {
      origin: url.origin,
      rootPath: version === -1 ? path : segments.slice(0, version).join('/'),
      apiPath: version === -1 ? `${path}/v1` : path,
    },
  }
}
