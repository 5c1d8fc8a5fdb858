#include "lb4/probe/dialogue_mysql.h"

enum talk_step dialogue_mysql_open(struct talk *talk)
{
    return talk_wrong(talk, "not built");
}

enum talk_step dialogue_mysql_hear(struct talk *talk)
{
    return talk_wrong(talk, "not built");
}

enum talk_step dialogue_mysql_end(struct talk *talk)
{
    return talk_wrong(talk, "not built");
}
