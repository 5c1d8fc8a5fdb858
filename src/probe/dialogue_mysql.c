/* https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html, "Connection Phase"
 * Packets: three bytes of length, low byte first, a number that counts them, and what it says.
 *
 *     GREETING  our answer to it is sent, it has not come
 *     VERDICT   what the server thinks of our answer; it may ask for another way to log in
 */
#include "lb4/probe/dialogue_mysql.h"

#include <string.h>

enum stage { GREETING, VERDICT, VERDICT_AGAIN, VERDICT_LAST };

enum { HEADER_BYTES = 4, AT_NUMBER = 3, PACKET_MAX = 1024 };

/* The first byte of a packet. */
enum { OK = 0x00, MORE = 0x01, GREETING_V10 = 0x0a, SWITCH = 0xfe, ERROR = 0xff };

/* Of what follows MORE, by caching_sha2_password: it knows us, wait for OK. */
enum { FAST_AUTH_OK = 0x03 };

/* Capabilities: LONG_PASSWORD, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH. */
enum { CAPABILITIES = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x80000, CHARSET_UTF8 = 33 };

enum { COM_QUIT = 1, FILLER_BYTES = 23, ED25519_BYTES = 64, USER_MAX = 256 };

static const char default_user[] = "lb4";
static const char native[] = "mysql_native_password";

/* Errors about who we are, from a server that does its work: access denied; to an account of a
 * plugin that takes no password; over a connection without TLS; to a locked account, as MySQL and
 * as MariaDB say it. */
static const uint16_t about_us[] = {1045, 1698, 3159, 3118, 4151};

/* --- what is said ----------------------------------------------------------------------------- */

/* Around the n_bytes behind the header's place in out_buffer. */
static enum talk_step say_packet(struct talk *talk, uint8_t number, size_t n_bytes)
{
    talk->out_buffer[0] = (uint8_t)n_bytes;
    talk->out_buffer[1] = (uint8_t)(n_bytes >> 8);
    talk->out_buffer[2] = 0;
    talk->out_buffer[AT_NUMBER] = number;
    return talk_say(talk, talk->out_buffer, HEADER_BYTES + n_bytes);
}

static size_t put(uint8_t *to, size_t at, const void *bytes, size_t n_bytes)
{
    memcpy(to + at, bytes, n_bytes);
    return at + n_bytes;
}

/* HandshakeResponse41 with an empty password: nothing in it depends on the greeting. */
static enum talk_step say_login(struct talk *talk, const void *user, size_t n_user)
{
    static const uint8_t fixed[] = {
        CAPABILITIES & 0xff, CAPABILITIES >> 8 & 0xff, CAPABILITIES >> 16, 0, 0, 0, 0, 1,
        CHARSET_UTF8,
    };
    static const uint8_t zeros[FILLER_BYTES];
    uint8_t *to = talk->out_buffer + HEADER_BYTES;
    size_t n = put(to, 0, fixed, sizeof(fixed));

    n = put(to, n, zeros, sizeof(zeros));
    n = put(to, n, user, n_user);
    n = put(to, n, zeros, 1 + 1); /* the name's NUL, the password's length */
    n = put(to, n, native, sizeof(native));
    return say_packet(talk, 1, n);
}

enum talk_step dialogue_mysql_open(struct talk *talk)
{
    const struct service_check *check = talk->check;

    if (check->n_send > USER_MAX)
        return talk_wrong(talk, "the user's name is too long");
    if (check->n_send > 0)
        return say_login(talk, check->send, check->n_send);
    return say_login(talk, default_user, sizeof(default_user) - 1);
}

static enum talk_step say_quit(struct talk *talk)
{
    talk->is_last_word = true;
    talk->out_buffer[HEADER_BYTES] = COM_QUIT;
    return say_packet(talk, 0, 1);
}

/* --- what is heard ---------------------------------------------------------------------------- */

struct packet {
    const uint8_t *bytes;
    size_t n_bytes;
    uint8_t number;
};

static enum talk_step not_mysql(struct talk *talk)
{
    return talk_wrong_words(talk, "not a MySQL answer: ", talk->in, talk->n_in, "");
}

/* TALK_GOOD: there is a whole one. A server is known by the first bytes to be none. */
static enum talk_step find_packet(const struct talk *talk, struct packet *ret)
{
    size_t n_bytes;

    if (talk->n_in < HEADER_BYTES)
        return TALK_MORE;
    n_bytes = (size_t)(talk->in[0] | talk->in[1] << 8 | talk->in[2] << 16);
    if (n_bytes == 0 || n_bytes > PACKET_MAX)
        return TALK_WRONG;
    if (talk->n_in < HEADER_BYTES + n_bytes)
        return TALK_MORE;
    *ret = (struct packet){talk->in + HEADER_BYTES, n_bytes, talk->in[AT_NUMBER]};
    return TALK_GOOD;
}

static bool is_about_us(uint16_t code)
{
    for (size_t i = 0; i < sizeof(about_us) / sizeof(*about_us); i++) {
        if (about_us[i] == code)
            return true;
    }
    return false;
}

/* The code, maybe # and an SQLSTATE, the text. */
static enum talk_step judge_error(struct talk *talk, const struct packet *packet)
{
    enum { TEXT_AT = 3, STATE_BYTES = 6 };
    size_t at = TEXT_AT;
    uint16_t code;

    if (packet->n_bytes < TEXT_AT)
        return not_mysql(talk);
    code = (uint16_t)(packet->bytes[1] | packet->bytes[2] << 8);
    if (talk->stage != GREETING && is_about_us(code))
        return TALK_GOOD;
    if (packet->n_bytes >= TEXT_AT + STATE_BYTES && packet->bytes[TEXT_AT] == '#')
        at += STATE_BYTES;
    return talk_wrong_words(talk, "MySQL error ", packet->bytes + at, packet->n_bytes - at, "");
}

/* A version, a NUL, and behind it at least a thread's number and eight bytes of a challenge. */
static bool is_greeting(const struct packet *packet)
{
    enum { BEHIND_VERSION = 4 + 8 };
    const uint8_t *end = memchr(packet->bytes, 0, packet->n_bytes);

    return packet->number == 0 && packet->bytes[0] == GREETING_V10 && end &&
           (size_t)(packet->bytes + packet->n_bytes - end) > BEHIND_VERSION;
}

static enum talk_step hear_greeting(struct talk *talk, const struct packet *packet)
{
    if (packet->bytes[0] == ERROR)
        return judge_error(talk, packet);
    if (!is_greeting(packet))
        return not_mysql(talk);
    talk->stage = VERDICT;
    return TALK_MORE;
}

static bool asks_for(const struct packet *packet, const char *plugin)
{
    return packet->n_bytes > strlen(plugin) + 1 &&
           memcmp(packet->bytes + 1, plugin, strlen(plugin) + 1) == 0;
}

/* Each way has its form of an empty or wrong password; one of another form counts as a broken
 * handshake. MariaDB takes users whom it does not know for some other account, so that any way in
 * use there may be asked for. */
static enum talk_step say_password(struct talk *talk, const struct packet *packet)
{
    size_t n_bytes = 1;

    if (packet->n_bytes == 1 || asks_for(packet, native) || asks_for(packet, "mysql_old_password"))
        n_bytes = 0;
    else if (asks_for(packet, "client_ed25519"))
        n_bytes = ED25519_BYTES;
    memset(talk->out_buffer + HEADER_BYTES, 0, n_bytes);
    return say_packet(talk, (uint8_t)(packet->number + 1), n_bytes);
}

/* Twice at most: who asks on and on is no server. */
static enum talk_step hear_switch(struct talk *talk, const struct packet *packet)
{
    if (talk->stage == VERDICT_LAST)
        return not_mysql(talk);
    talk->stage++;
    return say_password(talk, packet);
}

/* Anything else than that it knows us: it wants more of a password than an empty one. */
static enum talk_step hear_more(const struct packet *packet)
{
    return packet->n_bytes == 2 && packet->bytes[1] == FAST_AUTH_OK ? TALK_MORE : TALK_GOOD;
}

static enum talk_step hear_verdict(struct talk *talk, const struct packet *packet)
{
    switch (packet->bytes[0]) {
    case OK:
        return say_quit(talk);
    case ERROR:
        return judge_error(talk, packet);
    case SWITCH:
        return hear_switch(talk, packet);
    case MORE:
        return hear_more(packet);
    default:
        return not_mysql(talk);
    }
}

enum talk_step dialogue_mysql_hear(struct talk *talk)
{
    enum talk_step step = TALK_MORE;

    while (step == TALK_MORE && talk->n_in > 0) {
        struct packet packet;

        step = find_packet(talk, &packet);
        if (step == TALK_WRONG)
            return not_mysql(talk);
        if (step == TALK_MORE)
            return TALK_MORE;
        step = talk->stage == GREETING ? hear_greeting(talk, &packet) : hear_verdict(talk, &packet);
        if (step != TALK_WRONG)
            talk_consume(talk, HEADER_BYTES + packet.n_bytes);
    }
    return step;
}

enum talk_step dialogue_mysql_end(struct talk *talk)
{
    return talk_hung_up(talk);
}
