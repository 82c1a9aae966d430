/* Zstandard at levels 1, 6 and 15 and back. Argument: bytes. */
#include "data.h"
#include "zstd.h"

int main(int count, char **arguments) {
    size_t length = argument(count, arguments, 500000), room = length * 2 + 1000;
    unsigned char *data = make_data(length), *packed = malloc(room), *back = malloc(length);
    int levels[] = {1, 6, 15}, failed = 0;
    for (int at = 0; at < 3; at++) {
        size_t size = ZSTD_compress(packed, room, data, length, levels[at]);
        if (ZSTD_isError(size) || ZSTD_isError(ZSTD_decompress(back, length, packed, size))) return 2;
        failed |= finish(data, length, packed, size, back);
    }
    return failed;
}
