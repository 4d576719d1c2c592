// The entry for tests, benchmarks and replays: virtual time, simulated engines, workloads.

// Time
export { virtualClock } from './clock.ts'
export type { VirtualClock } from './clock.ts'

// Simulated engines
export { enginePreset } from './simulator/presets/engines.ts'
export type { EngineName, EnginePresetOptions } from './simulator/presets/engines.ts'
export type { GpuName } from './simulator/presets/gpus.ts'
export type { ModelName } from './simulator/presets/models.ts'
export type { EngineProfile } from './simulator/step-model/profile.ts'
export { gpu, stepEngineModel } from './simulator/step-model/gpu.ts'
export type { GpuOptions, StepEngineModel, StepGpu } from './simulator/step-model/gpu.ts'
export { simpleEngineModel } from './simulator/simple-model.ts'
export type { EngineListener, EngineModel, EngineRequest, EngineStats } from './simulator/engine-model.ts'
export { defaultResponder } from './simulator/default-responder.ts'
export { scriptedResponder } from './simulator/scripted-responder.ts'
export type { Reply, Responder } from './simulator/responder.ts'
export { faultCatalogue } from './simulator/faults/catalogue.ts'
export type { FaultEntry, FaultName, FaultPosition } from './simulator/faults/catalogue.ts'
export type { FaultPlanInput } from './simulator/faults/plan.ts'
export { serveSimulated } from './testbed/serve.ts'
export type { ServedEngine, ServeSimulatedOptions } from './testbed/serve.ts'
export { engineNames, gpuNames, modelNameOf, modelNames } from './testbed/engine-names.ts'

// Workloads
export { workloadPreset, workloadPresetNames } from './simulator/workloads/presets.ts'
export type { WorkloadPresetName, WorkloadPresetOptions } from './simulator/workloads/presets.ts'
export { loadWorkload } from './simulator/workloads/load.ts'
export type { LoadOptions } from './simulator/workloads/load.ts'
export type { Workload, WorkloadRun, WorkloadStep, WorkloadTurn } from './simulator/workloads/workload.ts'
export { replay } from './testbed/replay.ts'
export type { ReplayOptions } from './testbed/replay.ts'
export type { Percentiles, ReplaySummary } from './testbed/summary.ts'
export { recordLines, recordTo } from './testbed/record.ts'
export type { FileRecorder, RecordOptions } from './testbed/record.ts'
export { schedulingPolicyNames } from './scheduling/registry.ts'
export type { SchedulingPolicyName } from './scheduling/registry.ts'

// Actors of one's own
export { actorContract } from './testbed/actor-contract.ts'
export type { ActorCheck, ActorContractOptions } from './testbed/actor-contract.ts'

// Drivers
export { driverContract } from './engines/contract/driver-contract.ts'
export type { ContractCheck, ContractCheckName, DriverContractOptions } from './engines/contract/driver-contract.ts'
export type { ContractFault, ContractSubject, ObservedRequest } from './engines/contract/check.ts'
export { startFlavour } from './simulator/flavours/start-flavour.ts'
export type { FlavourServer, StartFlavourOptions } from './simulator/flavours/start-flavour.ts'
export type { FlavourName, FlavourOptions } from './simulator/flavours/flavour.ts'
export type { FrontFault, SeenRequest } from './simulator/openai-front.ts'
export { memoryPolicyNames } from './memory/plan.ts'

// Simulation of whole runtimes with faults
export { simTest } from './testbed/sim-test/sim-test.ts'
export type { SimFailure, SimReport, SimTestOptions } from './testbed/sim-test/sim-test.ts'
export { simFaultNames, simFaults } from './testbed/sim-test/scenario.ts'
export type {
  Draw,
  Scenario,
  SimBackend,
  SimDeed,
  SimFaultName,
  SimRun,
  SimStage,
} from './testbed/sim-test/scenario.ts'
export { simOracles } from './testbed/sim-test/oracles.ts'
export type { SimOracleName, SimViolation } from './testbed/sim-test/oracles.ts'
export type { SimTrace } from './testbed/sim-test/play.ts'
export type { SimAnswer, SimKit, SimSetup, SimSubject } from './testbed/sim-test/subject.ts'
export { faultyBackend } from './testbed/sim-test/faulty-backend.ts'
export type { CallWatcher, FaultyOptions } from './testbed/sim-test/faulty-backend.ts'
