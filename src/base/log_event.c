/* Packed: the form's address, then the values one behind the other:
 *
 *    text      a byte, 0 = none, else the length + 1; the bytes
 *    number    seven bits a byte, the low ones first, the highest bit says that more follow
 *    address   a byte: 0 = none, 4 = four bytes of IPv4 and two of the port, 6 = a struct addr */
#include "lb4/base/log_event.h"

#include <assert.h>
#include <string.h>

enum { FORM_BYTES = sizeof(void *) };

static size_t put_text(const char *text, char *out)
{
    size_t n;

    if (!text) {
        out[0] = 0;
        return 1;
    }
    n = strnlen(text, LOG_VALUE_MAX);
    out[0] = (char)(n + 1);
    memcpy(out + 1, text, n);
    return n + 1;
}

static size_t put_number(uint64_t number, char *out)
{
    size_t n = 0;

    while (number >= 0x80) {
        out[n++] = (char)(number | 0x80);
        number >>= 7;
    }
    out[n++] = (char)number;
    return n;
}

static size_t put_addr(const struct addr *addr, char *out)
{
    if (!addr) {
        out[0] = 0;
        return 1;
    }
    if (addr->sa.sa_family == AF_INET) {
        out[0] = 4;
        memcpy(out + 1, &addr->in4.sin_addr, 4);
        memcpy(out + 5, &addr->in4.sin_port, 2);
        return 7;
    }
    out[0] = 6;
    memcpy(out + 1, addr, sizeof(*addr));
    return 1 + sizeof(*addr);
}

static size_t put_value(enum log_kind kind, const union log_value *value, char *out)
{
    switch (kind) {
    case LOG_TEXT:
        return put_text(value->text, out);
    case LOG_NUMBER:
    case LOG_MS:
        return put_number(value->number, out);
    case LOG_ADDR:
        return put_addr(value->addr, out);
    }
    return 0;
}

size_t log_event_pack(const struct log_form *form, const union log_value *values,
                      char out[static LOG_EVENT_PACKED_MAX])
{
    size_t n = FORM_BYTES;

    assert(form->n_keys <= LOG_KEYS_MAX);
    memcpy(out, &form, FORM_BYTES);
    for (size_t i = 0; i < form->n_keys; i++)
        n += put_value(form->keys[i].kind, &values[i], out + n);
    return n;
}

void log_event_begin(struct log_event *event, const char *bytes, size_t n_bytes)
{
    *event = (struct log_event){.at = bytes + FORM_BYTES, .n_left = n_bytes - FORM_BYTES};
    memcpy(&event->form, bytes, FORM_BYTES);
}

static void skip(struct log_event *event, size_t n)
{
    event->at += n;
    event->n_left -= n;
}

static void take_text(struct log_event *event, struct log_cell *cell)
{
    size_t n = (unsigned char)event->at[0];

    cell->is_none = n == 0;
    cell->n_text = n ? n - 1 : 0;
    cell->text = event->at + 1;
    skip(event, n ? n : 1);
}

static void take_number(struct log_event *event, struct log_cell *cell)
{
    unsigned shift = 0;
    unsigned char byte;

    do {
        byte = (unsigned char)event->at[0];
        cell->number |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        skip(event, 1);
    } while (byte & 0x80);
}

static void take_addr(struct log_event *event, struct log_cell *cell)
{
    switch (event->at[0]) {
    case 4:
        cell->addr.in4 = (struct sockaddr_in){.sin_family = AF_INET};
        memcpy(&cell->addr.in4.sin_addr, event->at + 1, 4);
        memcpy(&cell->addr.in4.sin_port, event->at + 5, 2);
        skip(event, 7);
        break;
    case 6:
        memcpy(&cell->addr, event->at + 1, sizeof(cell->addr));
        skip(event, 1 + sizeof(cell->addr));
        break;
    default:
        cell->is_none = true;
        skip(event, 1);
        break;
    }
}

bool log_event_next(struct log_event *event, struct log_cell *ret)
{
    if (event->index == event->form->n_keys)
        return false;
    *ret = (struct log_cell){.key = &event->form->keys[event->index++]};
    switch (ret->key->kind) {
    case LOG_TEXT:
        take_text(event, ret);
        break;
    case LOG_NUMBER:
    case LOG_MS:
        take_number(event, ret);
        break;
    case LOG_ADDR:
        take_addr(event, ret);
        break;
    }
    return true;
}
