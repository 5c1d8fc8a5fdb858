/* Stands in for libFuzzer: runs a fuzzer's function once over every file of the folders named, so
 * that an ordinary build tests the corpus. A crash or abort is the failure. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAP_INPUT_BYTES = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* The input is copied to its very size: a sanitizer then sees a read beyond it. */
static int replay_file(const char *path)
{
    static uint8_t buffer[CAP_INPUT_BYTES];
    FILE *file = fopen(path, "rb");
    uint8_t *input;
    size_t n_bytes;

    if (!file) {
        perror(path);
        return -1;
    }
    n_bytes = fread(buffer, 1, sizeof(buffer), file);
    fclose(file);
    input = malloc(n_bytes ? n_bytes : 1);
    if (!input)
        abort();
    for (size_t i = 0; i < n_bytes; i++)
        input[i] = buffer[i];
    LLVMFuzzerTestOneInput(input, n_bytes);
    free(input);
    return 0;
}

/* Returns how many files were replayed, or -1. */
static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[4096];
    int n_files = 0;

    if (!dir) {
        perror(folder);
        return -1;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        printf("%s\n", path);
        fflush(stdout);
        if (replay_file(path) == 0)
            n_files++;
    }
    closedir(dir);
    return n_files;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (replay_folder(argv[i]) <= 0) {
            fprintf(stderr, "%s: nothing to replay\n", argv[i]);
            return EXIT_FAILURE;
        }
    }
    return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
