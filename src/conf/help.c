#include "lb4/conf/help.h"

static const char text[] =
    "lb4 forwards TCP connections and UDP datagrams and balances them over servers.\n"
    "\n"
    "usage: lb4 [-c FILE] [options]              run with a configuration file\n"
    "       lb4 -t [-c FILE]                     check it only\n"
    "       lb4 -T [-c FILE]                     print it, defaults filled in\n"
    "       lb4 -l ADDRESS -s SERVER [options]   rules without a file\n"
    "\n"
    "  -c, --config FILE      configuration file (default /etc/lb4/lb4.conf)\n"
    "  -t, --check            check the configuration, then exit: 0 valid, 1 not\n"
    "  -T, --print            print the effective configuration, then exit\n"
    "  -l, --listen ADDRESS   begin a rule: listen on :PORT, ADDRESS:PORT,\n"
    "                         :FIRST-LAST for a range of ports; TCP, or as udp/:PORT\n"
    "                         UDP, as both/:PORT both; or on unix:/PATH; repeats\n"
    "  -s, --server SERVER    a server of the rule, [NAME=]HOST[:PORT] or unix:/PATH;\n"
    "                         repeats. A host name is looked up again while lb4 runs\n"
    "  -b, --balance POLICY   leastconn (default), roundrobin, source or random\n"
    "  -o, --option LINE      any directive of the file; before the first -l for all,\n"
    "                         behind it for that rule; repeats\n"
    "  -w, --workers N        worker threads: auto (one per CPU, default) or 1..256\n"
    "  -u, --user USER[:GROUP]\n"
    "                         give up root for this user once all listens\n"
    "  -p, --pidfile FILE     write the process id to FILE\n"
    "      --no-splice        copy only, do not use splice(2)\n"
    "  -v, --verbose          log more; repeats\n"
    "  -q, --quiet            log less; repeats\n"
    "  -V, --version          print the version\n"
    "  -h, --help             print this help\n"
    "\n"
    "Example: PostgreSQL on two servers, clients go where fewer connections are\n"
    "  lb4 -l :5432 -s db1=10.0.0.11:5432 -s db2=10.0.0.12:5432 -b leastconn \\\n"
    "      -o 'check tcp interval 1s'\n"
    "\n"
    "Flags win over the file. The log goes to stderr, or where `log` says.\n"
    "Signals: HUP reloads, TERM and QUIT let live connections finish, INT ends now,\n"
    "USR1 opens the log file anew.\n"
    "Exit: 0 fine, 1 cannot run (a wrong configuration too), 2 wrong usage.\n";

void help_write(FILE *stream)
{
    fputs(text, stream);
}
