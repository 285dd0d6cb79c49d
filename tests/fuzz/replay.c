/*
 * Gives the fuzz target every file of a folder, then random inputs: replay FOLDER SEED COUNT. Prints "cases: N". A failure
 * of a random input names the seed that gives this input first.
 */
#include <dirent.h>

#include "arrow_fixtures.h"

#define INPUT_BYTES_MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From memory of its own size, so that reading past it is seen. */
static void give(const uint8_t *bytes, size_t count)
{
    uint8_t *copy = fixture_allocate(count);
    if (count > 0) memcpy(copy, bytes, count);
    (void)LLVMFuzzerTestOneInput(copy, count);
    free(copy);
}

static uint64_t give_folder(const char *folder)
{
    DIR *files = opendir(folder);
    if (files == NULL) {
        fprintf(stderr, "%s cannot be read\n", folder);
        exit(1);
    }
    uint64_t cases = 0;
    for (struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files)) {
        if (entry->d_name[0] == '.') continue;
        char path[4096];
        uint8_t bytes[INPUT_BYTES_MOST];
        CHECK(snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < (int)sizeof path);
        FILE *file = fopen(path, "rb");
        CHECK(file != NULL);
        size_t count = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        printf("%s\n", entry->d_name);
        fflush(stdout);
        give(bytes, count);
        cases++;
    }
    closedir(files);
    return cases;
}

static void give_random(uint64_t seed)
{
    struct dice dice = {seed};
    uint8_t bytes[160];
    size_t count = dice_below(&dice, sizeof bytes);
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)dice_next(&dice);
    give(bytes, count);
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 4) {
        fprintf(stderr, "usage: %s FOLDER SEED COUNT\n", arguments[0]);
        return 2;
    }
    uint64_t cases = give_folder(arguments[1]);
    uint64_t seed = strtoull(arguments[2], NULL, 10) << 32, count = strtoull(arguments[3], NULL, 10);
    for (uint64_t i = 0; i < count; i++) {
        if (i % 1000 == 0) printf("random inputs from %llu on\n", (unsigned long long)i), fflush(stdout);
        give_random(seed + i);
    }
    printf("cases: %llu\n", (unsigned long long)(cases + count));
    return 0;
}
