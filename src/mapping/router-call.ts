// One number from a short call of a model: what one-bit mappers and scores by a model have in common.

import { OptionsError } from '../errors.ts'
import type { InferenceParams } from '../schema/chat.ts'
import { user } from '../schema/message.ts'
import type { MappingContext, MappingRequest } from './mapper.ts'

/** How to ask a model about a stage. */
export interface RouterOptions<Input = unknown, Results = unknown> {
  /** Backend whose model is asked: a small and fast one. */
  router: string
  /** The backend's own when absent. */
  model?: string
  /** What makes a stage hard, in words for the model. */
  criteria?: string
  /** What it is to judge by. Default: the last message of the prompt that the stage will send. */
  about?: (request: MappingRequest<Input, Results>, context: MappingContext) => string | Promise<string>
  /** Characters of it that are sent, from its beginning and its end; default 2,000. A router reads them every time. */
  aboutCharsMax?: number
  /**
   * Whether the answer is held to a JSON Schema, where the router's backend takes one; default true. Give false for
   * servers that take schemas of objects only.
   */
  schema?: boolean
  /** Besides `temperature: 0` and `maxTokens: 1`: for example what keeps a model from thinking. */
  params?: InferenceParams
  /** Priority of the question in its backend's queue, default 1,000: decisions go before work. */
  priority?: number
  /**
   * When an answer is used again: for the same question (`question`, default), for the same stage of the same workflow,
   * whatever its input (`template`), or never (`none`).
   */
  cache?: 'question' | 'template' | 'none'
  /** Answers that are kept, default 1,000; those used longest ago go first. */
  cacheMax?: number
}

/** A number that a model said, or why there is none. */
export type RouterAnswer = { value: number; cached: boolean } | { value: undefined; why: string }

const aboutCharsMaxDefault = 2_000
const cacheMaxDefault = 1_000

/**
 * Makes the asker of one router.
 *
 * @param task - what is asked; the criteria and the text to judge follow
 * @param values - whole numbers that it may say, each one token
 */
export function routerCall<Input, Results>(
  options: RouterOptions<Input, Results>,
  task: string,
  values: readonly number[],
): (request: MappingRequest<Input, Results>, context: MappingContext) => Promise<RouterAnswer> {
  const { router, model, criteria, about, schema = true, params, priority, cache = 'question' } = options
  const { aboutCharsMax = aboutCharsMaxDefault, cacheMax = cacheMaxDefault } = options
  if (!(aboutCharsMax >= 1) || !(cacheMax >= 1)) {
    const path = aboutCharsMax >= 1 ? 'cacheMax' : 'aboutCharsMax'
    throw new OptionsError('options of a router', [{ path, code: 'range', message: 'expected a number of at least 1' }])
  }
  /** In the order of last use. */
  const known = new Map<string, number>()
  const remember = (key: string, value: number): void => {
    known.delete(key)
    known.set(key, value)
    if (known.size > cacheMax) known.delete(known.keys().next().value!)
  }
  return async (request, context) => {
    // A stage of one workflow: what it is asked differs, its template does not.
    if (cache === 'template') {
      const value = known.get(request.stageClass)
      if (value !== undefined) return { value, cached: true }
    }
    const text = cut(about === undefined ? await lastMessage(context) : await about(request, context), aboutCharsMax)
    const question = [task, ...(criteria === undefined ? [] : [criteria]), text].join('\n\n')
    const key = cache === 'template' ? request.stageClass : question
    const before = cache === 'question' ? known.get(key) : undefined
    if (before !== undefined) {
      remember(key, before)
      return { value: before, cached: true }
    }
    const { content } = await context.ask({
      backend: router,
      ...(model !== undefined && { model }),
      messages: [user(question)],
      params: { temperature: 0, maxTokens: 1, ...params },
      ...(schema && { responseSchema: { name: 'decision', schema: { type: 'integer', enum: [...values] } } }),
      ...(priority !== undefined && { priority }),
    })
    const value = Number(content.trim())
    if (content.trim() === '' || !values.includes(value)) {
      return { value: undefined, why: `"${router}" said ${JSON.stringify(content.slice(0, 40))}` }
    }
    if (cache !== 'none') remember(key, value)
    return { value, cached: false }
  }
}

async function lastMessage(context: MappingContext): Promise<string> {
  const { messages } = await context.prompt()
  return messages.at(-1)?.content ?? ''
}

/** The beginning and the end: what is asked for stands in one of them. */
function cut(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text
  const half = Math.floor(charsMax / 2)
  return `${text.slice(0, charsMax - half)}\n[...]\n${text.slice(text.length - half)}`
}
