/* Block sorting compression and back. Argument: bytes. */
#include "data.h"
#include "bzlib.h"

void bz_internal_error(int code) { exit(code); }

int main(int count, char **arguments) {
    size_t length = argument(count, arguments, 300000);
    unsigned char *data = make_data(length), *packed = malloc(length * 2 + 1000), *back = malloc(length);
    unsigned size = (unsigned)(length * 2 + 1000), restored = (unsigned)length;
    if (BZ2_bzBuffToBuffCompress((char *)packed, &size, (char *)data, (unsigned)length, 9, 0, 0) != BZ_OK) return 2;
    if (BZ2_bzBuffToBuffDecompress((char *)back, &restored, (char *)packed, size, 0, 0) != BZ_OK) return 3;
    return finish(data, length, packed, size, back);
}
