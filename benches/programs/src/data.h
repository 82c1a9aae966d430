/* Data that compresses, but not too well: words, numbers and some noise, the same at each run. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char *make_data(size_t length) {
    static const char *words[] = {"region", "loop", "header", "latch", "exit", "slot", "tier", "value", "block"};
    unsigned char *data = malloc(length + 32);
    uint32_t state = 7;
    size_t at = 0;
    while (at < length) {
        state = state * 1103515245u + 12345u;
        uint32_t pick = state >> 16;
        if (pick % 7 == 0) {
            data[at++] = (unsigned char)(pick >> 5);
        } else if (pick % 5 == 0) {
            at += (size_t)sprintf((char *)data + at, "%u,", (unsigned)(pick % 1000));
        } else {
            const char *word = words[pick % 9];
            memcpy(data + at, word, strlen(word));
            at += strlen(word);
            data[at++] = ' ';
        }
    }
    return data;
}

static uint32_t check_sum(const unsigned char *data, size_t length) {
    uint32_t sum = 2166136261u;
    for (size_t at = 0; at < length; at++) sum = (sum ^ data[at]) * 16777619u;
    return sum;
}

/* Prints what came of it; the exit code of the program. */
static int finish(const unsigned char *data, size_t length, const unsigned char *packed, size_t size,
                  const unsigned char *restored) {
    printf("%lu %lu %08x\n", (unsigned long)length, (unsigned long)size, (unsigned)check_sum(packed, size));
    return memcmp(data, restored, length) != 0;
}

static size_t argument(int count, char **arguments, size_t otherwise) {
    return count > 1 ? (size_t)atoi(arguments[1]) : otherwise;
}
