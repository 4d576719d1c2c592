// The public entry: everything that programs may use, and nothing else.

import { llamaServer } from './engines/llama-server.ts'
import { ollama } from './engines/ollama.ts'
import { openAi, openAiCompatible } from './engines/openai.ts'
import { sglang } from './engines/sglang.ts'
import { simulatedHttp } from './engines/simulated-http.ts'
import { vllm } from './engines/vllm.ts'
import { createSimulated } from './simulator/simulated.ts'

// Workflows
export { workflow } from './workflow/builder.ts'
export type { CascadeAnswer, CascadeVerdict } from './workflow/cascade.ts'
export type { MapperSet } from './workflow/mapping-data.ts'
export type { Workflow, WorkflowBuilder, StageOptions, BuilderContext, OutputContext } from './workflow/builder.ts'
export { workflowFromData } from './workflow/data.ts'
export { WorkflowData } from './schema/workflow.ts'
export { tool } from './workflow/tool.ts'
export type { ToolContext, ToolDefinition, ToolSet } from './workflow/tool.ts'
export { mcpTools } from './mcp/mcp-tools.ts'
export type { McpTools } from './mcp/mcp-tools.ts'
export type { McpCommand, McpServer, McpToolsOptions, McpUrl } from './mcp/mcp-options.ts'
export { mergeTools, pick } from './mcp/tool-set.ts'
export { system, user, assistant } from './schema/message.ts'
export type { Message, ToolCall } from './schema/message.ts'
export type { RunOutcome, StageReport, TurnReport, ToolCallReport } from './workflow/report.ts'
export { withJsonSchema } from './schema/standard.ts'
export { criticalPath } from './workflow/graph.ts'
export type { TimedStage } from './workflow/graph.ts'

// Runtime
export { createRuntime } from './runtime.ts'
export type {
  BackendStatus,
  Feedback,
  PolicyOption,
  Run,
  Runtime,
  RuntimeOptions,
  RunnerStatus,
  SchedulingOptions,
  StartOptions,
  ThreadsOptions,
} from './runtime-api.ts'
export { defineActor, onThread } from '../actors/extension.ts'
export type { ActorContext, ActorDefinition, ActorHandlers } from '../actors/extension.ts'
export { realClock, virtualClock } from './clock.ts'
export type { Clock, VirtualClock } from './clock.ts'
export { createLogger } from './log.ts'
export type { Logger } from './log.ts'

// Scheduling and mapping
export { deficitRoundRobin } from './scheduling/deficit-round-robin.ts'
export type { DeficitOptions } from './scheduling/deficit-round-robin.ts'
export { earliestStart } from './scheduling/earliest-start.ts'
export { fair } from './scheduling/fair.ts'
export { fcfs } from './scheduling/fcfs.ts'
export { leastAttained } from './scheduling/least-attained.ts'
export { priority } from './scheduling/priority.ts'
export { responseRatio } from './scheduling/response-ratio.ts'
export { shortestFirst } from './scheduling/shortest-first.ts'
export { shortestRemaining } from './scheduling/shortest-remaining.ts'
export { weightedShortest } from './scheduling/weighted-shortest.ts'
export type { KeyedPolicy, PickPolicy, SchedulingPolicy } from './scheduling/policy.ts'
export type { TenantLimits, TenantsOptions } from './schema/tenants.ts'
export type { RequestView } from './scheduling/request-view.ts'
export type { Speed } from './prediction/service-fit.ts'
export type { StageClassFacts } from './prediction/stage-history.ts'
export { accuracyFloor } from './mapping/accuracy-floor.ts'
export type { AccuracyFloorOptions } from './mapping/accuracy-floor.ts'
export { firstOf } from './mapping/first-of.ts'
export type { MappingStep } from './mapping/first-of.ts'
export { learned } from './mapping/learned.ts'
export type { LearnedExample, LearnedFacts, LearnedMapper, LearnedOptions } from './mapping/learned-options.ts'
export type { LearnedData } from './mapping/learned-data.ts'
export { promptShape, promptShapeNames } from './mapping/prompt-shape.ts'
export type { FeatureSource } from './mapping/features.ts'
export { leastLoaded } from './mapping/least-loaded.ts'
export type { LeastLoadedOptions } from './mapping/least-loaded.ts'
export { loadAware } from './mapping/load-aware.ts'
export type { LoadAwareOptions } from './mapping/load-aware.ts'
export { modelScore } from './mapping/model-score.ts'
export type { ModelScoreOptions } from './mapping/model-score.ts'
export { modelBit, oneBit } from './mapping/one-bit.ts'
export type { ModelBitOptions, OneBitOptions } from './mapping/one-bit.ts'
export type { RouterOptions } from './mapping/router-call.ts'
export { httpScheduler } from './services/http-scheduler.ts'
export type { HttpSchedulerOptions } from './services/http-scheduler.ts'
export { httpMapper } from './services/http-mapper.ts'
export type { HttpMapperOptions } from './services/http-mapper.ts'
export { replicas } from './mapping/replicas.ts'
export type { ReplicasOptions } from './mapping/replicas.ts'
export { threshold } from './mapping/threshold.ts'
export type { Score, ThresholdOptions } from './mapping/threshold.ts'
export type {
  BackendView,
  Mapper,
  MapperCall,
  MappingContext,
  MappingDecision,
  MappingOutcome,
  MappingPrompt,
  MappingRequest,
} from './mapping/mapper.ts'

// Money and worth
export type { Account } from './accounting/accounts.ts'
export type { BudgetLimit, BudgetsOptions, BudgetStatus } from './accounting/shared-budgets.ts'
export type { ShadowOptions, ShadowPair, Shadows } from './accounting/shadow-plan.ts'
export type { ShadowStatus } from './runtime-shadows.ts'
export type { PriceOptions, PriceStatus } from './services/price-source.ts'
export type { Prices } from './schema/backend.ts'
export type { DecisionRecord, FeedbackEntry } from './accounting/decisions.ts'

// Memory
export { flushAtBoundary, flushUnderPressure, preserveOnSmallIncrement } from './memory/paper-policies.ts'
export type { BoundaryView, CachePolicy, CacheVerdict, Pressure } from './memory/cache-policy.ts'
export type { MemoryOptions, MemoryPolicy, MemoryPolicyName } from './memory/plan.ts'

export type { CacheDecision, WindowStatus } from '../actors/memory-manager.ts'
export type { WindowPolicy, WindowReview, WindowRun, WindowView } from './memory/window-policy.ts'

// Backends
export { llamaServer, ollama, openAi, openAiCompatible, sglang, vllm }
export { declaredCapabilities, openAiDialect } from './engines/openai-driver.ts'
export type { EngineAccess, OpenAiDialect, RequestExtras } from './engines/openai-driver.ts'
export type { OpenAiOptions } from './engines/openai-options.ts'
export type { ChatCall, ChatContext, ChatSink, Driver, DriverEnvironment, ProbeResult } from './engines/driver.ts'
export { llamaCpp } from './engines/llama-cpp/llama-cpp.ts'
export type { LlamaCppOptions } from './engines/llama-cpp/options.ts'
export { dynamo } from './engines/dynamo.ts'
export { detectEngine } from './engines/detect.ts'
export type { DetectedEngine } from './engines/detect.ts'
export type { FlushOptions, FlushResult, KvControl, KvOptions, KvUsage } from './engines/kv-control.ts'
export type { Capabilities } from './schema/capabilities.ts'
/** A simulated engine: no GPU, no key, no network. */
export const simulated = createSimulated(simulatedHttp, { vllm, sglang, llamacpp: llamaServer, ollama })
export type { BackendDefinition } from './engines/backend-definition.ts'
export type { Reply, ReplyCall, Responder, ResponderContext } from './simulator/responder.ts'
export type { ChatRequest } from './schema/chat.ts'

// Events
export type { MappingFacts, RunEvent, RunState, StageState, TokenEvent, Transition } from './schema/transition.ts'

// Lifecycles, to look at
export { workflowMachine } from '../machines/workflow.ts'
export { stageMachine } from '../machines/stage.ts'
export { backendMachine } from '../machines/backend.ts'

// Bounds
export { limits } from './limits.ts'

// Errors
export * from './errors.ts'
