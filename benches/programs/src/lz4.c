/* LZ4, fast and high compression, and back. Argument: bytes. */
#include "data.h"
#include "lz4.h"
#include "lz4hc.h"

int main(int count, char **arguments) {
    int length = (int)argument(count, arguments, 1000000), room = LZ4_compressBound(length);
    unsigned char *data = make_data((size_t)length), *packed = malloc((size_t)room), *back = malloc((size_t)length);
    int levels[] = {0, 4, 9}, failed = 0;
    for (int at = 0; at < 3; at++) {
        int size = levels[at] ? LZ4_compress_HC((char *)data, (char *)packed, length, room, levels[at])
                              : LZ4_compress_default((char *)data, (char *)packed, length, room);
        if (LZ4_decompress_safe((char *)packed, (char *)back, size, length) != length) return 2;
        failed |= finish(data, (size_t)length, packed, (size_t)size, back);
    }
    return failed;
}
