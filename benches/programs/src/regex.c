/* Regular expressions over a text: alternatives, back references, look-around, named groups. Argument: bytes. */
#include "data.h"
#include "oniguruma.h"

int main(int count, char **arguments) {
    static const char *patterns[] = {"(region|exit|tier) +\\w+", "\\b(\\w+) \\1\\b", "(?<=loop )\\w+(?= header)",
                                     "[0-9]{3},", "(?<first>l\\w+) (?<second>\\w+) \\k<first>", "(?i)VALUE|bl.ck",
                                     "(a|e|i|o|u)[^aeiou]{2,}x", "\\w+\\s(?:\\w+\\s)*?[0-9]+"};
    size_t length = argument(count, arguments, 100000);
    unsigned char *text = make_data(length);
    for (size_t at = 0; at < length; at++)
        if (text[at] >= 0x80) text[at] &= 0x7f;
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    for (size_t at = 0; at < sizeof patterns / sizeof *patterns; at++) {
        const UChar *pattern = (const UChar *)patterns[at];
        regex_t *regex;
        OnigErrorInfo info;
        if (onig_new(&regex, pattern, pattern + strlen(patterns[at]), ONIG_OPTION_DEFAULT, ONIG_ENCODING_UTF8,
                     ONIG_SYNTAX_DEFAULT, &info) != ONIG_NORMAL)
            return 2;
        OnigRegion *found = onig_region_new();
        unsigned matches = 0, sum = 0;
        const UChar *from = text, *end = text + length;
        while (from < end && onig_search(regex, text, end, from, end, found, ONIG_OPTION_NONE) >= 0) {
            matches++;
            sum = sum * 31 + (unsigned)(found->end[0] - found->beg[0]);
            from = text + (found->end[0] > found->beg[0] ? found->end[0] : found->end[0] + 1);
        }
        printf("%s: %u %08x\n", patterns[at], matches, sum);
        onig_region_free(found, 1);
        onig_free(regex);
    }
    return 0;
}
