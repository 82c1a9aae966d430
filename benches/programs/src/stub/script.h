/* What the interpreter wants of a system and WASI does not have. */
#include <stdio.h>
#define tmpfile() NULL
