from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NewTask(_message.Message):
    __slots__ = ("key", "handler", "arguments", "priority", "kind", "unique", "unique_for_s")
    KEY_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_FOR_S_FIELD_NUMBER: _ClassVar[int]
    key: int
    handler: str
    arguments: bytes
    priority: str
    kind: str
    unique: str
    unique_for_s: float
    def __init__(self, key: _Optional[int] = ..., handler: _Optional[str] = ..., arguments: _Optional[bytes] = ..., priority: _Optional[str] = ..., kind: _Optional[str] = ..., unique: _Optional[str] = ..., unique_for_s: _Optional[float] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[NewTask]
    def __init__(self, tasks: _Optional[_Iterable[_Union[NewTask, _Mapping]]] = ...) -> None: ...

class Submitted(_message.Message):
    __slots__ = ("key", "code", "error", "retry_after_s", "was_bound")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    WAS_BOUND_FIELD_NUMBER: _ClassVar[int]
    key: int
    code: str
    error: str
    retry_after_s: float
    was_bound: bool
    def __init__(self, key: _Optional[int] = ..., code: _Optional[str] = ..., error: _Optional[str] = ..., retry_after_s: _Optional[float] = ..., was_bound: _Optional[bool] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Submitted]
    def __init__(self, tasks: _Optional[_Iterable[_Union[Submitted, _Mapping]]] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ("first", "count")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("keys", "with_result")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WITH_RESULT_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[int]
    with_result: bool
    def __init__(self, keys: _Optional[_Iterable[int]] = ..., with_result: _Optional[bool] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("done", "total", "note")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    done: float
    total: float
    note: str
    def __init__(self, done: _Optional[float] = ..., total: _Optional[float] = ..., note: _Optional[str] = ...) -> None: ...

class TaskStatus(_message.Message):
    __slots__ = ("key", "state", "result", "error", "node", "progress")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    key: int
    state: str
    result: bytes
    error: str
    node: str
    progress: Progress
    def __init__(self, key: _Optional[int] = ..., state: _Optional[str] = ..., result: _Optional[bytes] = ..., error: _Optional[str] = ..., node: _Optional[str] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskStatus]
    def __init__(self, tasks: _Optional[_Iterable[_Union[TaskStatus, _Mapping]]] = ...) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("keys", "timeout_s")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[int]
    timeout_s: float
    def __init__(self, keys: _Optional[_Iterable[int]] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class WaitResponse(_message.Message):
    __slots__ = ("open_keys",)
    OPEN_KEYS_FIELD_NUMBER: _ClassVar[int]
    open_keys: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, open_keys: _Optional[_Iterable[int]] = ...) -> None: ...

class ViewRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LaneView(_message.Message):
    __slots__ = ("lane", "queued", "running", "slots", "room", "backlog_s", "mean_s", "median_wait_s")
    LANE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_S_FIELD_NUMBER: _ClassVar[int]
    MEAN_S_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    lane: str
    queued: int
    running: int
    slots: int
    room: int
    backlog_s: float
    mean_s: float
    median_wait_s: float
    def __init__(self, lane: _Optional[str] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., slots: _Optional[int] = ..., room: _Optional[int] = ..., backlog_s: _Optional[float] = ..., mean_s: _Optional[float] = ..., median_wait_s: _Optional[float] = ...) -> None: ...

class PeerView(_message.Message):
    __slots__ = ("name", "peer", "api", "connected", "round_trip_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    peer: str
    api: str
    connected: bool
    round_trip_ms: float
    def __init__(self, name: _Optional[str] = ..., peer: _Optional[str] = ..., api: _Optional[str] = ..., connected: _Optional[bool] = ..., round_trip_ms: _Optional[float] = ...) -> None: ...

class ViewResponse(_message.Message):
    __slots__ = ("name", "peer", "api", "pid", "version", "ready", "leader", "is_leader", "term", "session", "executed", "high_water", "state_hash", "kafka", "worker_pids", "handlers", "lanes", "peers", "counters")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    IS_LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATER_FIELD_NUMBER: _ClassVar[int]
    STATE_HASH_FIELD_NUMBER: _ClassVar[int]
    KAFKA_FIELD_NUMBER: _ClassVar[int]
    WORKER_PIDS_FIELD_NUMBER: _ClassVar[int]
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    peer: str
    api: str
    pid: int
    version: str
    ready: bool
    leader: str
    is_leader: bool
    term: int
    session: int
    executed: int
    high_water: int
    state_hash: str
    kafka: str
    worker_pids: _containers.RepeatedScalarFieldContainer[int]
    handlers: _containers.RepeatedScalarFieldContainer[str]
    lanes: _containers.RepeatedCompositeFieldContainer[LaneView]
    peers: _containers.RepeatedCompositeFieldContainer[PeerView]
    counters: _containers.ScalarMap[str, int]
    def __init__(self, name: _Optional[str] = ..., peer: _Optional[str] = ..., api: _Optional[str] = ..., pid: _Optional[int] = ..., version: _Optional[str] = ..., ready: _Optional[bool] = ..., leader: _Optional[str] = ..., is_leader: _Optional[bool] = ..., term: _Optional[int] = ..., session: _Optional[int] = ..., executed: _Optional[int] = ..., high_water: _Optional[int] = ..., state_hash: _Optional[str] = ..., kafka: _Optional[str] = ..., worker_pids: _Optional[_Iterable[int]] = ..., handlers: _Optional[_Iterable[str]] = ..., lanes: _Optional[_Iterable[_Union[LaneView, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[PeerView, _Mapping]]] = ..., counters: _Optional[_Mapping[str, int]] = ...) -> None: ...

class MembersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MemberView(_message.Message):
    __slots__ = ("node", "is_leader", "connected")
    NODE_FIELD_NUMBER: _ClassVar[int]
    IS_LEADER_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    node: str
    is_leader: bool
    connected: bool
    def __init__(self, node: _Optional[str] = ..., is_leader: _Optional[bool] = ..., connected: _Optional[bool] = ...) -> None: ...

class MembersResponse(_message.Message):
    __slots__ = ("members",)
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[MemberView]
    def __init__(self, members: _Optional[_Iterable[_Union[MemberView, _Mapping]]] = ...) -> None: ...

class ChangeMemberRequest(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: str
    def __init__(self, node: _Optional[str] = ...) -> None: ...

class ChangeMemberResponse(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, group: _Optional[_Iterable[str]] = ...) -> None: ...

class LanesRequest(_message.Message):
    __slots__ = ("with_reasons",)
    WITH_REASONS_FIELD_NUMBER: _ClassVar[int]
    with_reasons: bool
    def __init__(self, with_reasons: _Optional[bool] = ...) -> None: ...

class RunnerView(_message.Message):
    __slots__ = ("pid", "form", "is_long", "slots", "running", "state", "rss_bytes")
    PID_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    IS_LONG_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    pid: int
    form: str
    is_long: bool
    slots: int
    running: int
    state: str
    rss_bytes: int
    def __init__(self, pid: _Optional[int] = ..., form: _Optional[str] = ..., is_long: _Optional[bool] = ..., slots: _Optional[int] = ..., running: _Optional[int] = ..., state: _Optional[str] = ..., rss_bytes: _Optional[int] = ...) -> None: ...

class BacklogView(_message.Message):
    __slots__ = ("lane", "tasks", "seconds", "paused")
    LANE_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    lane: str
    tasks: int
    seconds: float
    paused: bool
    def __init__(self, lane: _Optional[str] = ..., tasks: _Optional[int] = ..., seconds: _Optional[float] = ..., paused: _Optional[bool] = ...) -> None: ...

class ReasonView(_message.Message):
    __slots__ = ("at_ms", "subject", "decision", "why")
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    at_ms: int
    subject: str
    decision: str
    why: str
    def __init__(self, at_ms: _Optional[int] = ..., subject: _Optional[str] = ..., decision: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class LanesResponse(_message.Message):
    __slots__ = ("node", "lanes", "runners", "backlog", "reasons")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    RUNNERS_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    node: str
    lanes: _containers.RepeatedCompositeFieldContainer[LaneView]
    runners: _containers.RepeatedCompositeFieldContainer[RunnerView]
    backlog: _containers.RepeatedCompositeFieldContainer[BacklogView]
    reasons: _containers.RepeatedCompositeFieldContainer[ReasonView]
    def __init__(self, node: _Optional[str] = ..., lanes: _Optional[_Iterable[_Union[LaneView, _Mapping]]] = ..., runners: _Optional[_Iterable[_Union[RunnerView, _Mapping]]] = ..., backlog: _Optional[_Iterable[_Union[BacklogView, _Mapping]]] = ..., reasons: _Optional[_Iterable[_Union[ReasonView, _Mapping]]] = ...) -> None: ...

class LabelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LabelView(_message.Message):
    __slots__ = ("handler", "kind", "node", "lane", "why", "mean_s", "p95_s", "cpu_s", "samples", "routes")
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    MEAN_S_FIELD_NUMBER: _ClassVar[int]
    P95_S_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    handler: str
    kind: str
    node: str
    lane: str
    why: str
    mean_s: float
    p95_s: float
    cpu_s: float
    samples: int
    routes: bool
    def __init__(self, handler: _Optional[str] = ..., kind: _Optional[str] = ..., node: _Optional[str] = ..., lane: _Optional[str] = ..., why: _Optional[str] = ..., mean_s: _Optional[float] = ..., p95_s: _Optional[float] = ..., cpu_s: _Optional[float] = ..., samples: _Optional[int] = ..., routes: _Optional[bool] = ...) -> None: ...

class LabelsResponse(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[LabelView]
    def __init__(self, labels: _Optional[_Iterable[_Union[LabelView, _Mapping]]] = ...) -> None: ...

class LimitsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChangeView(_message.Message):
    __slots__ = ("number", "at_ms", "who", "verb", "subject", "value")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    number: int
    at_ms: int
    who: str
    verb: str
    subject: str
    value: int
    def __init__(self, number: _Optional[int] = ..., at_ms: _Optional[int] = ..., who: _Optional[str] = ..., verb: _Optional[str] = ..., subject: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class LimitsResponse(_message.Message):
    __slots__ = ("numbers", "paused", "purged", "history")
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PURGED_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    numbers: _containers.RepeatedCompositeFieldContainer[ChangeView]
    paused: _containers.RepeatedCompositeFieldContainer[ChangeView]
    purged: _containers.RepeatedCompositeFieldContainer[ChangeView]
    history: _containers.RepeatedCompositeFieldContainer[ChangeView]
    def __init__(self, numbers: _Optional[_Iterable[_Union[ChangeView, _Mapping]]] = ..., paused: _Optional[_Iterable[_Union[ChangeView, _Mapping]]] = ..., purged: _Optional[_Iterable[_Union[ChangeView, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[ChangeView, _Mapping]]] = ...) -> None: ...

class ChangeLimitRequest(_message.Message):
    __slots__ = ("verb", "subject", "value", "who")
    VERB_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    verb: str
    subject: str
    value: int
    who: str
    def __init__(self, verb: _Optional[str] = ..., subject: _Optional[str] = ..., value: _Optional[int] = ..., who: _Optional[str] = ...) -> None: ...

class OutputRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: int
    def __init__(self, key: _Optional[int] = ...) -> None: ...

class OutputView(_message.Message):
    __slots__ = ("key", "node", "text")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    key: int
    node: str
    text: str
    def __init__(self, key: _Optional[int] = ..., node: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class OutputResponse(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: OutputView
    def __init__(self, output: _Optional[_Union[OutputView, _Mapping]] = ...) -> None: ...

class DeadFilter(_message.Message):
    __slots__ = ("keys", "places", "handler", "since_ms", "error")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[int]
    places: _containers.RepeatedScalarFieldContainer[str]
    handler: str
    since_ms: int
    error: str
    def __init__(self, keys: _Optional[_Iterable[int]] = ..., places: _Optional[_Iterable[str]] = ..., handler: _Optional[str] = ..., since_ms: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class DeadRequest(_message.Message):
    __slots__ = ("filter", "cursor", "limit", "with_arguments")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WITH_ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    filter: DeadFilter
    cursor: str
    limit: int
    with_arguments: bool
    def __init__(self, filter: _Optional[_Union[DeadFilter, _Mapping]] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ..., with_arguments: _Optional[bool] = ...) -> None: ...

class AttemptView(_message.Message):
    __slots__ = ("attempt", "at_ms", "node", "error")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    at_ms: int
    node: str
    error: str
    def __init__(self, attempt: _Optional[int] = ..., at_ms: _Optional[int] = ..., node: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class DeadTask(_message.Message):
    __slots__ = ("key", "place", "handler", "kind", "submitted_ms", "died_ms", "error", "retry_of", "attempts", "arguments", "settled")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_MS_FIELD_NUMBER: _ClassVar[int]
    DIED_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRY_OF_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    key: int
    place: str
    handler: str
    kind: str
    submitted_ms: int
    died_ms: int
    error: str
    retry_of: int
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptView]
    arguments: bytes
    settled: str
    def __init__(self, key: _Optional[int] = ..., place: _Optional[str] = ..., handler: _Optional[str] = ..., kind: _Optional[str] = ..., submitted_ms: _Optional[int] = ..., died_ms: _Optional[int] = ..., error: _Optional[str] = ..., retry_of: _Optional[int] = ..., attempts: _Optional[_Iterable[_Union[AttemptView, _Mapping]]] = ..., arguments: _Optional[bytes] = ..., settled: _Optional[str] = ...) -> None: ...

class DeadResponse(_message.Message):
    __slots__ = ("tasks", "cursor", "looked", "total")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LOOKED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[DeadTask]
    cursor: str
    looked: int
    total: int
    def __init__(self, tasks: _Optional[_Iterable[_Union[DeadTask, _Mapping]]] = ..., cursor: _Optional[str] = ..., looked: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class SettleDeadRequest(_message.Message):
    __slots__ = ("verb", "filter", "cursor", "limit", "who")
    VERB_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    verb: str
    filter: DeadFilter
    cursor: str
    limit: int
    who: str
    def __init__(self, verb: _Optional[str] = ..., filter: _Optional[_Union[DeadFilter, _Mapping]] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ..., who: _Optional[str] = ...) -> None: ...

class SettledView(_message.Message):
    __slots__ = ("key", "place", "new_key", "error")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    NEW_KEY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    key: int
    place: str
    new_key: int
    error: str
    def __init__(self, key: _Optional[int] = ..., place: _Optional[str] = ..., new_key: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class SettleDeadResponse(_message.Message):
    __slots__ = ("tasks", "cursor", "looked", "total")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LOOKED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[SettledView]
    cursor: str
    looked: int
    total: int
    def __init__(self, tasks: _Optional[_Iterable[_Union[SettledView, _Mapping]]] = ..., cursor: _Optional[str] = ..., looked: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class DoubtsRequest(_message.Message):
    __slots__ = ("keys", "with_tasks", "after")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WITH_TASKS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[int]
    with_tasks: bool
    after: int
    def __init__(self, keys: _Optional[_Iterable[int]] = ..., with_tasks: _Optional[bool] = ..., after: _Optional[int] = ...) -> None: ...

class DoubtView(_message.Message):
    __slots__ = ("key", "why", "attempt", "after", "session", "node", "session_open", "handler", "kind", "arguments", "submitted_ms", "attempts")
    KEY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SESSION_OPEN_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    key: int
    why: str
    attempt: int
    after: int
    session: int
    node: str
    session_open: bool
    handler: str
    kind: str
    arguments: bytes
    submitted_ms: int
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptView]
    def __init__(self, key: _Optional[int] = ..., why: _Optional[str] = ..., attempt: _Optional[int] = ..., after: _Optional[int] = ..., session: _Optional[int] = ..., node: _Optional[str] = ..., session_open: _Optional[bool] = ..., handler: _Optional[str] = ..., kind: _Optional[str] = ..., arguments: _Optional[bytes] = ..., submitted_ms: _Optional[int] = ..., attempts: _Optional[_Iterable[_Union[AttemptView, _Mapping]]] = ...) -> None: ...

class DoubtsResponse(_message.Message):
    __slots__ = ("doubts", "total", "next")
    DOUBTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    doubts: _containers.RepeatedCompositeFieldContainer[DoubtView]
    total: int
    next: int
    def __init__(self, doubts: _Optional[_Iterable[_Union[DoubtView, _Mapping]]] = ..., total: _Optional[int] = ..., next: _Optional[int] = ...) -> None: ...

class ResolveDoubtsRequest(_message.Message):
    __slots__ = ("keys", "decision", "who")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[int]
    decision: str
    who: str
    def __init__(self, keys: _Optional[_Iterable[int]] = ..., decision: _Optional[str] = ..., who: _Optional[str] = ...) -> None: ...

class ResolvedView(_message.Message):
    __slots__ = ("key", "error")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    key: int
    error: str
    def __init__(self, key: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ResolveDoubtsResponse(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[ResolvedView]
    def __init__(self, keys: _Optional[_Iterable[_Union[ResolvedView, _Mapping]]] = ...) -> None: ...
