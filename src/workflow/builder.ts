// The typed builder: a workflow in TypeScript, with everything inferred.

import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Mapper } from '../mapping/mapper.ts'
import type { StageSettingsInput } from '../schema/stage.ts'
import type { Message } from '../schema/message.ts'
import type { InferInput, InferOutput } from '../schema/standard.ts'
import type { ResultContext, WorkflowDefinition } from './definition.ts'
import type { StageReport } from './report.ts'
import type { CascadeAnswer, CascadeVerdict } from './cascade.ts'
import { stageReferences, type BackendReference } from './references.ts'
import type { ToolSet } from './tool.ts'
import { compileWorkflow, type RawStage } from './compile.ts'

/** What the builder knows about a stage at type level: its value, and whether it may be skipped. */
interface StageType {
  value: unknown
  skippable: boolean
}

type StageTypes = Record<string, StageType>

type IsUnion<T, U = T> = [T] extends [never] ? false : T extends unknown ? ([U] extends [T] ? false : true) : never

type ResultOf<S extends StageType> = S['skippable'] extends true ? S['value'] | undefined : S['value']

/**
 * Results that a stage sees: of its declared dependencies only. A dependency that may be skipped gives
 * `T | undefined`, except when it is the only one: then the stage would be skipped with it.
 */
type ResultsOf<Stages extends StageTypes, After extends keyof Stages> = {
  readonly [Name in After]: IsUnion<After> extends true ? ResultOf<Stages[Name]> : Stages[Name]['value']
}

type AllResults<Stages extends StageTypes> = { readonly [Name in keyof Stages]: ResultOf<Stages[Name]> }

/** A stage whose every dependency may be skipped may be skipped itself. */
type InheritsSkip<Stages extends StageTypes, After extends keyof Stages> = [After] extends [never]
  ? false
  : false extends Stages[After]['skippable']
    ? false
    : true

type OutputValue<Output> = Output extends StandardSchemaV1 ? InferOutput<Output> : string

/** What the functions of a stage are given. */
export interface BuilderContext<Input, Results> {
  readonly input: Input
  readonly results: Results
}

/** What `output` is given: besides input and results, what the stages did. */
export interface OutputContext<Input, Results> extends BuilderContext<Input, Results> {
  readonly runId: string
  /** How each stage went. Its tool calls tell what it did, where its result only says so. */
  readonly stages: { readonly [Name in keyof Results]: StageReport }
}

/** A number, or a function of the input and the results. */
export type HintOption<Input, Results> = number | ((context: BuilderContext<Input, Results>) => number)

/** Options of one stage. */
export interface StageOptions<
  Input,
  Results,
  After extends string,
  Output extends StandardSchemaV1 | undefined,
> extends Omit<StageSettingsInput, 'after' | 'cascade'> {
  /** Stages it waits for. Only stages defined before are accepted, so a typed workflow has no cycle. */
  after?: readonly After[]
  /** Decides backend and model when the stage is ready. Either this or `backend`. */
  mapping?: Mapper<Input, Results>
  /**
   * Backends that make the answer again, in this order, when it is not good enough: when `accept` says so, or when the
   * stage would fail by its answer (no match with `output`, too many turns, cut, refused). The last one's answer counts as
   * it is. Without tool calls the next backend begins anew, else it goes on from them.
   */
  cascade?: {
    to: string | readonly string[]
    accept?: (answer: CascadeAnswer<Input, Results, OutputValue<Output>>) => CascadeVerdict | Promise<CascadeVerdict>
  }
  /** Tools by the name that the model calls. */
  tools?: ToolSet
  /** The final answer must match; without it the stage's result is the answer's text. */
  output?: Output
  /** Builds the prompt: text (one user message), or messages. Pure: it sees the input and declared results only. */
  prompt: (context: BuilderContext<Input, Results>) => string | readonly Message[]
  /** Priority among stages and among requests of this stage, higher is sooner. A single value sets both. */
  priority?: HintOption<Input, Results> | { stage?: HintOption<Input, Results>; request?: HintOption<Input, Results> }
}

/** A workflow that can be started. Immutable and re-entrant. */
export interface Workflow<Input = unknown, Output = unknown> {
  readonly name: string
  /** The compiled form. Compiled once. Throws WorkflowInvalidError with every problem. */
  readonly definition: WorkflowDefinition
  /** Backends that stages name, each with the path of the option: checked by the runtime, which has the backends. */
  readonly backendReferences: readonly BackendReference[]
  /** Carries the types only; never present. */
  readonly types?: { input: Input; output: Output }
}

/** A workflow under construction, and a workflow already: without `output` its result is the results of all stages. */
export interface WorkflowBuilder<Input, InputGiven, Stages extends StageTypes> extends Workflow<
  InputGiven,
  AllResults<Stages>
> {
  /** Adds a stage that may be skipped. */
  stage<
    const Name extends string,
    const After extends keyof Stages & string = never,
    Output extends StandardSchemaV1 | undefined = undefined,
  >(
    name: Name extends keyof Stages ? never : Name,
    options: StageOptions<Input, ResultsOf<Stages, After>, After, Output> & {
      /** Not taken: the stage is skipped, and so is what depends only on skipped stages. */
      when: (context: BuilderContext<Input, ResultsOf<Stages, After>>) => boolean
    },
  ): WorkflowBuilder<Input, InputGiven, Stages & Record<Name, { value: OutputValue<Output>; skippable: true }>>
  /** Adds a stage. */
  stage<
    const Name extends string,
    const After extends keyof Stages & string = never,
    Output extends StandardSchemaV1 | undefined = undefined,
  >(
    name: Name extends keyof Stages ? never : Name,
    options: StageOptions<Input, ResultsOf<Stages, After>, After, Output> & { when?: undefined },
  ): WorkflowBuilder<
    Input,
    InputGiven,
    Stages & Record<Name, { value: OutputValue<Output>; skippable: InheritsSkip<Stages, After> }>
  >
  /** Says what the run's result is. What it throws fails the run. */
  output<Output>(make: (context: OutputContext<Input, AllResults<Stages>>) => Output): Workflow<InputGiven, Output>
}

/** Stages as a list that grows at one end: adding one is O(1), also the hundred-thousandth. */
interface StageList {
  readonly before: StageList | undefined
  readonly stage: RawStage
}

/**
 * Begins a workflow.
 *
 * @param name - 1 to 128 characters; part of every stage class
 * @param options.input - schema of the input; without one the input is unknown and unchecked
 * @param options.mapping - maps the stages that have neither `backend` nor `mapping`
 * @example
 * const greet = workflow('greet', { input: z.object({ name: z.string() }) })
 *   .stage('hello', { backend: 'light', prompt: ({ input }) => `Greet ${input.name}.` })
 *   .output(({ results }) => results.hello)
 */
export function workflow<Input extends StandardSchemaV1 = StandardSchemaV1<unknown, unknown>>(
  name: string,
  options: { input?: Input; mapping?: Mapper<InferOutput<Input>> } = {},
  // A builder without stages: `never` as a key type would widen to string.
): WorkflowBuilder<InferOutput<Input>, InferInput<Input>, {}> {
  return new Builder(name, options, undefined, undefined) as unknown as WorkflowBuilder<
    InferOutput<Input>,
    InferInput<Input>,
    {}
  >
}

interface WorkflowOptions {
  input?: StandardSchemaV1
  /** Unchecked: the compiler does. */
  mapping?: unknown
}

type ResultMaker = (context: ResultContext) => unknown

/** A finished workflow: compiled when first asked, then kept. */
class FinishedWorkflow implements Workflow {
  readonly name: string
  protected readonly options: WorkflowOptions
  protected readonly stages: StageList | undefined
  readonly #result: ResultMaker | undefined
  #definition: WorkflowDefinition | undefined

  constructor(name: string, options: WorkflowOptions, stages: StageList | undefined, result: ResultMaker | undefined) {
    this.name = name
    this.options = options
    this.stages = stages
    this.#result = result
  }

  get backendReferences(): BackendReference[] {
    return toArray(this.stages).flatMap(({ name, options }) => stageReferences(options, `stages.${name}`))
  }

  get definition(): WorkflowDefinition {
    this.#definition ??= compileWorkflow({
      name: this.name,
      input: this.options.input,
      mapping: this.options.mapping,
      stages: toArray(this.stages),
      result: this.#result,
    })
    return this.#definition
  }
}

/** The untyped inside of {@link WorkflowBuilder}: the types above are its only face. */
class Builder extends FinishedWorkflow {
  stage(name: string, options: RawStage['options']): Builder {
    return new Builder(this.name, this.options, { before: this.stages, stage: { name, options } }, undefined)
  }

  output(make: ResultMaker): FinishedWorkflow {
    return new FinishedWorkflow(this.name, this.options, this.stages, make)
  }
}

function toArray(last: StageList | undefined): RawStage[] {
  const stages: RawStage[] = []
  for (let node = last; node !== undefined; node = node.before) stages.push(node.stage)
  return stages.reverse()
}
