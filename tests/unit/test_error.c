/* White-box tests of src/base/error.c. */
#include <errno.h>

#include "base/error.h"
#include "check.h"

static void a_failure_writes_code_and_text_and_nothing_else(void)
{
    struct fb_error error;
    memset(&error, 0x5A, sizeof error);
    CHECK_EQUAL(fb__fail(&error, EIO, "unit %d of %s", 7, "a.parquet"), EIO);
    CHECK_EQUAL(error.code, EIO);
    CHECK_TEXT(error.message, "unit 7 of a.parquet");
    CHECK_EQUAL(error.unit, -1);
    CHECK_EQUAL(error.row, -1);
    CHECK_EQUAL(error.required_bytes, 0);
    CHECK_EQUAL(error.limit_bytes, 0);
}

static void a_refused_limit_carries_its_figures(void)
{
    struct fb_error error;
    CHECK_EQUAL(fb__fail_bytes(&error, UINT64_MAX, 12, "needs %s", "more"), ENOBUFS);
    CHECK_EQUAL(error.code, ENOBUFS);
    CHECK_TEXT(error.message, "needs more");
    CHECK_EQUAL(error.required_bytes, UINT64_MAX);
    CHECK_EQUAL(error.limit_bytes, 12);
    CHECK_EQUAL(error.unit, -1);
    CHECK_EQUAL(error.row, -1);
}

static void a_later_failure_forgets_the_figures_of_an_earlier_one(void)
{
    struct fb_error error;
    (void)fb__fail_bytes(&error, 10, 5, "limit");
    (void)fb__fail_at(&error, 3, 4);
    (void)fb__fail(&error, EINVAL, "argument");
    CHECK_EQUAL(error.required_bytes, 0);
    CHECK_EQUAL(error.limit_bytes, 0);
    CHECK_EQUAL(error.unit, -1);
    CHECK_EQUAL(error.row, -1);
}

static void a_place_is_added_without_touching_the_rest(void)
{
    struct fb_error error;
    (void)fb__fail_bytes(&error, 10, 5, "limit");
    CHECK_EQUAL(fb__fail_at(&error, 3, 1000), ENOBUFS);
    CHECK_EQUAL(error.unit, 3);
    CHECK_EQUAL(error.row, 1000);
    CHECK_EQUAL(error.required_bytes, 10);
    CHECK_TEXT(error.message, "limit");
}

static void nobody_has_to_ask_for_the_error(void)
{
    CHECK_EQUAL(fb__fail(NULL, EIO, "lost"), EIO);
    CHECK_EQUAL(fb__fail_bytes(NULL, 1, 2, "lost"), ENOBUFS);
    CHECK_EQUAL(fb__fail_at(NULL, 1, 2), 0);
}

static void a_message_may_quote_the_one_it_replaces(void)
{
    struct fb_error error;
    (void)fb__fail(&error, EIO, "no such file");
    (void)fb__fail(&error, EIO, "cannot open: %s", error.message);
    CHECK_TEXT(error.message, "cannot open: no such file");
}

/* Writes prefix_count times 'x' and then `character` twice, and gives the length of what was kept. */
static size_t kept_length(size_t prefix_count, const char *character)
{
    static char text[2048];
    struct fb_error error;
    memset(text, 'x', prefix_count);
    text[prefix_count] = '\0';
    strcat(text, character);
    strcat(text, character);
    memset(&error, 0x5A, sizeof error);
    (void)fb__fail(&error, EIO, "%s", text);
    size_t length = strlen(error.message);
    CHECK(memcmp(error.message, text, length) == 0);
    return length;
}

static void a_long_message_is_cut_between_characters(void)
{
    static const char *const characters[] = {"a", "\u00e9", "\u20ac", "\U0001F600"}; /* of 1, 2, 3 and 4 bytes */
    const size_t room = sizeof((struct fb_error *)0)->message - 1;
    for (size_t width = 1; width <= 4; width++) {
        for (size_t back = 0; back <= 9; back++) {
            size_t whole = back / width < 2 ? back / width : 2; /* characters that fit behind the prefix */
            CHECK_EQUAL(kept_length(room - back, characters[width - 1]), room - back + whole * width);
        }
    }
}

static void bytes_that_are_not_utf8_are_cut_and_terminated_too(void)
{
    const size_t room = sizeof((struct fb_error *)0)->message - 1;
    CHECK_EQUAL(kept_length(room + 5, "\x80"), room);
    CHECK_EQUAL(kept_length(room - 1, "\x80\x80\x80\x80\x80\x80"), room);
}

static void a_code_that_is_no_errno_code_never_passes_for_success(void)
{
    struct fb_error error;
    CHECK_EQUAL(fb_error_set(&error, ENOENT, "%s is gone", "it"), ENOENT);
    CHECK_EQUAL(error.code, ENOENT);
    CHECK_TEXT(error.message, "it is gone");
    CHECK_EQUAL(fb_error_set(&error, 0, "odd"), EIO);
    CHECK_EQUAL(fb_error_set(&error, -ENOENT, "odd"), EIO);
    CHECK_EQUAL(error.code, EIO);
    CHECK_EQUAL(fb_error_set(NULL, ENOENT, "unseen"), ENOENT);
}

int main(void)
{
    RUN(a_failure_writes_code_and_text_and_nothing_else);
    RUN(a_refused_limit_carries_its_figures);
    RUN(a_later_failure_forgets_the_figures_of_an_earlier_one);
    RUN(a_place_is_added_without_touching_the_rest);
    RUN(nobody_has_to_ask_for_the_error);
    RUN(a_message_may_quote_the_one_it_replaces);
    RUN(a_long_message_is_cut_between_characters);
    RUN(bytes_that_are_not_utf8_are_cut_and_terminated_too);
    RUN(a_code_that_is_no_errno_code_never_passes_for_success);
    return 0;
}
