// The container files, as far as they can be checked without running a container.

import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, 'docs/containers')
const read = (name: string): string => readFileSync(join(folder, name), 'utf8')

/** What of the compose specification is used; a mistyped key is an error. */
const Service = z.strictObject({
  profiles: z.tuple([z.enum(['ollama', 'vllm', 'sglang'])]),
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string() }).optional(),
  restart: z.literal('unless-stopped').optional(),
  environment: z.record(z.string().regex(/^[A-Z_]+$/), z.string()).optional(),
  entrypoint: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  volumes: z.array(z.string()).optional(),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/, 'published to this machine only')).optional(),
  ipc: z.literal('host').optional(),
  init: z.boolean().optional(),
  read_only: z.boolean().optional(),
  tmpfs: z.array(z.string()).optional(),
  cap_drop: z.array(z.string()).optional(),
  security_opt: z.array(z.string()).optional(),
  deploy: z.unknown().optional(),
  depends_on: z
    .record(z.string(), z.strictObject({ condition: z.enum(['service_healthy', 'service_completed_successfully']) }))
    .optional(),
  healthcheck: z
    .strictObject({ test: z.array(z.string()), interval: z.string(), timeout: z.string(), retries: z.int() })
    .optional(),
})
const Compose = z.looseObject({
  name: z.string(),
  services: z.record(z.string(), Service),
  volumes: z.record(z.string(), z.null()),
})

const compose = Compose.parse(parse(read('compose.yaml'), { merge: true }))
const services = Object.entries(compose.services)

/** `${NAME:-default}` replaced by its default. */
const filledIn = (text: string): string => text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')

describe('compose.yaml', () => {
  test('has an engine and a demo for each profile, and no key that compose does not know', () => {
    for (const profile of ['ollama', 'vllm', 'sglang']) {
      const own = services.filter(([, service]) => service.profiles[0] === profile)
      expect(own.filter(([name]) => name === `demo-${profile}`).length).toBe(1)
      expect(own.filter(([, service]) => service.healthcheck !== undefined).length).toBe(profile === 'ollama' ? 1 : 2)
    }
    expect(Object.keys(compose).filter((key) => !key.startsWith('x-'))).toEqual(['name', 'services', 'volumes'])
  })

  test('depends only on services of the same profile that can become what is waited for', () => {
    for (const [name, service] of services) {
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        const target = compose.services[other]
        expect(target?.profiles, `${name} depends on ${other}`).toEqual(service.profiles)
        expect(target?.healthcheck !== undefined, `${other} can be healthy`).toBe(condition === 'service_healthy')
        expect(target?.restart !== undefined, `${other} ends`).toBe(condition === 'service_healthy')
      }
    }
  })

  test('gives each demo the URLs that its engines listen at', () => {
    for (const [name, service] of services.filter(([key]) => key.startsWith('demo-'))) {
      const urls = Object.entries(service.environment ?? {}).filter(([key]) => key.endsWith('_URL'))
      expect(urls.length, name).toBeGreaterThan(0)
      for (const [, value] of urls) {
        const { hostname, port } = new URL(value)
        const engine = compose.services[hostname]
        expect(engine?.profiles).toEqual(service.profiles)
        expect(engine?.ports).toContain(`127.0.0.1:${port}:${port}`)
        const told = engine?.command?.find((argument) => argument.startsWith('--port='))
        expect(told ?? `--port=${port}`).toBe(`--port=${port}`)
        expect(Object.keys(service.depends_on ?? {}).some((other) => other.startsWith(hostname))).toBe(true)
      }
    }
  })

  test('gives demo and engine the same model', () => {
    for (const profile of ['vllm', 'sglang']) {
      for (const size of ['light', 'heavy']) {
        const model = compose.services[`demo-${profile}`]!.environment![`${size.toUpperCase()}_MODEL`]!
        const engine = compose.services[`${profile}-${size}`]!.command!.map((argument) =>
          argument.replace(/^--model(-path)?=/, ''),
        )
        expect(engine).toContain(model)
        expect(filledIn(model)).toMatch(/^Qwen\/Qwen3-/)
      }
    }
    expect(compose.services['demo-ollama']!.environment).toMatchObject({
      LIGHT_MODEL: compose.services['ollama-models']!.environment!['LIGHT_MODEL'],
      HEAVY_MODEL: compose.services['ollama-models']!.environment!['HEAVY_MODEL'],
    })
  })

  test('uses volumes that it declares, and a Dockerfile that exists', () => {
    const used = new Set(
      services.flatMap(([, service]) => (service.volumes ?? []).map((volume) => volume.split(':')[0]!)),
    )
    expect([...used].toSorted()).toEqual(Object.keys(compose.volumes).toSorted())
    for (const [, { build }] of services) {
      if (build !== undefined) expect(existsSync(join(folder, build.context, build.dockerfile))).toBe(true)
    }
  })

  test('names only variables that its README lists', () => {
    const readme = read('README.md')
    const named = [...read('compose.yaml').matchAll(/\$\{(\w+)/g)].map((match) => match[1]!)
    expect(named.filter((name) => !readme.includes(`\`${name}\``))).toEqual([])
  })
})

describe('the Dockerfile', () => {
  test('has known instructions, and copies only what exists and is not ignored', () => {
    const kept = read('Dockerfile.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1))
    for (const line of read('Dockerfile').split('\n')) {
      if (line === '' || line.startsWith('#')) continue
      expect(line).toMatch(/^(FROM|WORKDIR|COPY|RUN|ENV|USER|ENTRYPOINT) /)
      if (!line.startsWith('COPY ') || line.includes('--from=')) continue
      const sources = line
        .split(' ')
        .slice(1, -1)
        .filter((part) => !part.startsWith('--'))
      expect(sources.filter((source) => !kept.includes(source) || !existsSync(join(root, source)))).toEqual([])
    }
  })
})

describe('demo.sh', () => {
  const bin = mkdtempSync(join(tmpdir(), 'orla-demo-'))
  // Stands in for the demo: it says what it was told.
  writeFileSync(join(bin, 'node'), '#!/bin/sh\necho "${ORLA_BACKEND:-} $@"\n', { mode: 0o755 })
  afterAll(() => rmSync(bin, { recursive: true }))

  const run = (env: Record<string, string>, ...args: string[]): Promise<{ code: number; text: string }> =>
    new Promise((resolve) => {
      const options = { env: { PATH: `${bin}:/usr/bin:/bin`, ...env } }
      execFile('/bin/sh', [join(folder, 'demo.sh'), ...args], options, (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, text: `${stdout}${stderr}`.trim() }),
      )
    })

  test.each(['ollama', 'vllm', 'sglang'])(
    'turns the environment that compose gives for %s into flags',
    async (profile) => {
      const given = compose.services[`demo-${profile}`]!.environment!
      const env = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, filledIn(value)]))
      const { code, text } = await run(env, '--sample', 'two words')
      const url = (size: string): string => env['OLLAMA_URL'] ?? env[`${profile.toUpperCase()}_${size}_URL`]!
      expect(text).toBe(
        `openai /orla/dist/src/cli/main.js demo --light-url ${url('LIGHT')} --light-model ${env['LIGHT_MODEL']} ` +
          `--heavy-url ${url('HEAVY')} --heavy-model ${env['HEAVY_MODEL']} --sample two words`,
      )
      expect(code).toBe(0)
    },
  )

  test('uses flags that the demo has', async () => {
    const help = await new Promise<string>((resolve) =>
      execFile(process.execPath, [join(root, 'src/cli/main.ts'), 'demo', '--help'], (_error, stdout) =>
        resolve(stdout),
      ),
    )
    const flags = read('demo.sh').match(/--[a-z-]+/g) ?? []
    expect(flags.length).toBe(4)
    expect(flags.filter((flag) => !help.includes(`${flag} <`))).toEqual([])
  })

  test('runs on simulated engines when no backend is named', async () => {
    expect(await run({}, '--json')).toEqual({ code: 0, text: '/orla/dist/src/cli/main.js demo --json' })
  })

  test('says which variable is missing, and which backends there are', async () => {
    expect(await run({ BACKEND: 'vllm', VLLM_LIGHT_URL: 'http://a' })).toEqual({
      code: 2,
      text: expect.stringMatching(/VLLM_HEAVY_URL/) as string,
    })
    expect(await run({ BACKEND: 'ollama', OLLAMA_URL: 'http://a' })).toEqual({
      code: 2,
      text: expect.stringMatching(/LIGHT_MODEL/) as string,
    })
    expect(await run({ BACKEND: 'tgi' })).toEqual({
      code: 2,
      text: expect.stringMatching(/BACKEND is "tgi"; it can be ollama/) as string,
    })
  })
})
