/* Answers of a name server, written byte by byte. */
#ifndef TEST_SRV_ANSWER_H
#define TEST_SRV_ANSWER_H

#include <stdint.h>
#include <string.h>

enum { ANSWER_MAX = 4096, TYPE_CNAME = 5, TYPE_SRV = 33 };

struct answer {
    uint8_t bytes[ANSWER_MAX];
    size_t n;
};

static inline void answer_16(struct answer *answer, unsigned value)
{
    answer->bytes[answer->n++] = (uint8_t)(value >> 8);
    answer->bytes[answer->n++] = (uint8_t)value;
}

/* "_pg._tcp.example"; "" is the root. */
static inline void answer_name(struct answer *answer, const char *name)
{
    while (*name) {
        size_t n = strcspn(name, ".");

        answer->bytes[answer->n++] = (uint8_t)n;
        memcpy(&answer->bytes[answer->n], name, n);
        answer->n += n;
        name += n + (name[n] == '.');
    }
    answer->bytes[answer->n++] = 0;
}

static inline void answer_begin(struct answer *answer, const char *name, unsigned n_records)
{
    answer->n = 0;
    answer_16(answer, 1);
    answer_16(answer, 0x8180);
    answer_16(answer, 1);
    answer_16(answer, n_records);
    answer_16(answer, 0);
    answer_16(answer, 0);
    answer_name(answer, name);
    answer_16(answer, TYPE_SRV);
    answer_16(answer, 1);
}

/* Returns where the length of the data stands. */
static inline size_t answer_record(struct answer *answer, const char *owner, unsigned type)
{
    answer_name(answer, owner);
    answer_16(answer, type);
    answer_16(answer, 1);
    answer_16(answer, 0);
    answer_16(answer, 60);
    answer_16(answer, 0);
    return answer->n - 2;
}

static inline void answer_end(struct answer *answer, size_t at)
{
    size_t n = answer->n - at - 2;

    answer->bytes[at] = (uint8_t)(n >> 8);
    answer->bytes[at + 1] = (uint8_t)n;
}

static inline void answer_srv(struct answer *answer, const char *owner, const uint16_t numbers[3],
                              const char *target)
{
    size_t at = answer_record(answer, owner, TYPE_SRV);

    for (int i = 0; i < 3; i++)
        answer_16(answer, numbers[i]);
    answer_name(answer, target);
    answer_end(answer, at);
}

#endif
