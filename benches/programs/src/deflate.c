/* Deflate at levels 1, 6 and 9 and back. Argument: bytes. */
#include "data.h"
#include "zlib.h"

int main(int count, char **arguments) {
    size_t length = argument(count, arguments, 500000);
    unsigned char *data = make_data(length), *packed = malloc(length * 2 + 1000), *back = malloc(length);
    int levels[] = {1, 6, 9}, failed = 0;
    for (int at = 0; at < 3; at++) {
        uLongf size = length * 2 + 1000, restored = length;
        if (compress2(packed, &size, data, length, levels[at]) != Z_OK) return 2;
        if (uncompress(back, &restored, packed, size) != Z_OK) return 3;
        failed |= finish(data, length, packed, size, back);
    }
    return failed;
}
