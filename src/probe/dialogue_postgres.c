#include "lb4/probe/dialogue_postgres.h"

enum talk_step dialogue_postgres_open(struct talk *talk)
{
    return talk_wrong(talk, "not built");
}

enum talk_step dialogue_postgres_hear(struct talk *talk)
{
    return talk_wrong(talk, "not built");
}

enum talk_step dialogue_postgres_end(struct talk *talk)
{
    return talk_wrong(talk, "not built");
}
