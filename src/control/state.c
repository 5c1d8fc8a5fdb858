#include "lb4/control/state.h"

const char *lifecycle_state_word(enum lifecycle_state state)
{
    switch (state) {
    case LIFECYCLE_STARTING:
        return "starting";
    case LIFECYCLE_RUNNING:
        return "running";
    case LIFECYCLE_DRAINING:
        return "draining";
    case LIFECYCLE_STOPPING:
    case LIFECYCLE_LEAVING:
        return "stopping";
    }
    return "?";
}
