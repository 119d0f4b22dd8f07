"""What the server refuses, by the codes of the wire. HTTP status = code / 100."""

BAD_REQUEST = 40000
ALREADY_RESOLVED = 40301
ALREADY_REJECTED = 40302
ALREADY_CANCELED = 40303
ALREADY_TIMEDOUT = 40304
TASK_ALREADY_CLAIMED = 40306
TASK_ALREADY_COMPLETED = 40307
TASK_INVALID_COUNTER = 40308
TASK_INVALID_STATE = 40309
PROMISE_NOT_FOUND = 40400
SCHEDULE_NOT_FOUND = 40401
TASK_NOT_FOUND = 40403
PROMISE_ALREADY_EXISTS = 40900
SCHEDULE_ALREADY_EXISTS = 40901
TASK_PRECONDITION_FAILED = 41200
INTERNAL_ERROR = 50000

TITLES = {
    BAD_REQUEST: "The request is invalid",
    ALREADY_RESOLVED: "The promise has already been resolved",
    ALREADY_REJECTED: "The promise has already been rejected",
    ALREADY_CANCELED: "The promise has already been canceled",
    ALREADY_TIMEDOUT: "The promise has already timedout",
    TASK_ALREADY_CLAIMED: "The task is already claimed",
    TASK_ALREADY_COMPLETED: "The task is already completed",
    TASK_INVALID_COUNTER: "The task counter is invalid",
    TASK_INVALID_STATE: "The task state is invalid",
    PROMISE_NOT_FOUND: "The specified promise was not found",
    SCHEDULE_NOT_FOUND: "The specified schedule was not found",
    TASK_NOT_FOUND: "The specified task was not found",
    PROMISE_ALREADY_EXISTS: "The specified promise already exists",
    SCHEDULE_ALREADY_EXISTS: "The specified schedule already exists",
    TASK_PRECONDITION_FAILED: "The task precondition failed",
    INTERNAL_ERROR: "There was an internal server error",
}


class Refusal(Exception):  # noqa: N818 - the field's word for it; it is an answer, not a fault
    """A request that is answered with an error; what the rules wrote before raising it is kept.

    Attributes:
        code: one of the codes above.
        found: what was found and what was expected, for people; one text per failing field with 40000.
    """

    def __init__(self, code: int, *found: str) -> None:
        super().__init__(TITLES[code], *found)
        self.code = code
        self.found = found
