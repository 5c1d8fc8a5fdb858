/* The states of the process (control/lifecycle.c says what leads from one to the next), and their
 * words for operators. */
#ifndef LB4_CONTROL_STATE_H
#define LB4_CONTROL_STATE_H

enum lifecycle_state {
    LIFECYCLE_STARTING,
    LIFECYCLE_RUNNING,
    LIFECYCLE_DRAINING,
    LIFECYCLE_STOPPING,
    LIFECYCLE_LEAVING
};

/* "starting", "running", "draining", "stopping"; who is leaving is stopping. */
const char *lifecycle_state_word(enum lifecycle_state state);

#endif
