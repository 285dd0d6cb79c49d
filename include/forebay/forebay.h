/*
 * forebay: columnar data becomes training batches inside one byte limit.
 *
 * This header is the whole public C surface; docs/c.md is a page to begin with. How it goes, errors left out:
 *
 *     struct fb_source *source; // where rows come from, in units: row groups, blocks
 *     fb_source_from_blocks(&schema, blocks, block_count, &source, &error);
 *     struct fb_loader_options options = {
 *         .batch_rows = 4096, .memory_limit_bytes = 64 << 20, .thread_count = 2, .prefetch_batches = 4};
 *     struct fb_loader *loader; // owns the source from here on
 *     fb_loader_create(&options, source, &loader, &error);
 *     fb_loader_begin_epoch(loader, FB_NO_DEADLINE, &error);
 *     struct fb_batch *batch;
 *     while (fb_loader_next(loader, FB_NO_DEADLINE, true, &batch, &error) == 0 && batch) {
 *         struct fb_column column;
 *         fb_batch_column(batch, 0, &column); // the batch's own memory, yours until you release it
 *         use(column.values, fb_batch_rows(batch));
 *         fb_batch_release(batch); // warm memory for a batch to come
 *     }
 *     fb_loader_close(loader, FB_NO_DEADLINE, NULL, NULL);
 *
 * Handles are opaque. The rules that hold for every function:
 *
 *  1. Errors. A function that can fail returns 0 or a positive errno code. Its last parameter is a nullable
 *     struct fb_error, written only when a code other than 0 is returned. ENOMEM: the system refused memory.
 *     ENOBUFS: the limit refused it. ECANCELED: the operation was cancelled. EINVAL: an argument or the data
 *     handed in is malformed. ENOTSUP: a type this library does not read. EIO and others: the source failed.
 *     A pointer that is not called nullable must not be NULL.
 *  2. Ownership. Each pointer parameter says [borrow], [move] or [out: free with ...]. A moved argument is
 *     consumed only when the function succeeds; on failure the caller still owns everything. What is borrowed is
 *     not looked at after the call, unless it says until when. Plain structs to be filled (`out`) are the caller's.
 *  3. Threads. A loader is used by one consumer thread at a time; fb_loader_stats() and fb_loader_interrupt() may be
 *     called from any. Batches may be released from any thread. Sources are asked for rows on the loader's threads.
 *  4. Units. Sizes are in bytes, times in nanoseconds of the monotonic clock, both named so. Numbers count from 0.
 *  5. Fork. A child of fork() must not use handles made by its parent, not even to free them.
 *  6. Versions. Before 1.0 a minor version may change structs and functions; the soname of the library carries it.
 */
#ifndef FOREBAY_FOREBAY_H
#define FOREBAY_FOREBAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FB_MUST_CHECK __attribute__((warn_unused_result))
#define FB_API __attribute__((visibility("default")))
#define FB_FORMAT(text, first) __attribute__((format(printf, text, first)))
#else
#define FB_MUST_CHECK
#define FB_API
#define FB_FORMAT(text, first)
#endif

/* ---- Arrow C data interface (https://arrow.apache.org/docs/format/CDataInterface.html) ---------------------- */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif /* ARROW_C_DATA_INTERFACE */

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif /* ARROW_C_STREAM_INTERFACE */

/* ---- Errors ------------------------------------------------------------------------------------------------- */

/* What went wrong, in words for a person and in figures for a program. Fixed size: it never allocates. */
struct fb_error {
    int code;                /* the errno code that was returned */
    int64_t unit;            /* the unit of the source it concerns, -1 where none */
    int64_t row;             /* the row inside that unit, -1 where none */
    uint64_t required_bytes; /* ENOBUFS: the least limit that would do, 0 where not known */
    uint64_t limit_bytes;    /* ENOBUFS: the limit in force */
    char message[512];       /* NUL-terminated UTF-8, no trailing full stop */
};

/*
 * Fills an error, for callbacks that fail: `return fb_error_set(error, EIO, "%s: too short", path);`. The text is cut
 * at the end of message; unit and row become -1. error: nullable. Returns code (EIO where that is not positive).
 */
FB_API int fb_error_set(struct fb_error *error, int code, const char *format, ...) FB_FORMAT(3, 4);

/* ---- Accounts: every byte that forebay holds is in exactly one ----------------------------------------------- */

enum fb_account {
    FB_ACCOUNT_CORE = 0, /* queues, layouts, counters, the ledger itself */
    FB_ACCOUNT_PLAN,     /* which rows of which units make batch k */
    FB_ACCOUNT_READ,     /* what a decoder holds for us: pages, dictionaries, pieces */
    FB_ACCOUNT_BATCH,    /* batches being filled, and complete ones not yet delivered */
    FB_ACCOUNT_REORDER,  /* complete batches that wait for an earlier one */
    FB_ACCOUNT_POOL,     /* idle warm buffers; given up first */
    FB_ACCOUNT_HELD,     /* batches in the user's hands */
    FB_ACCOUNT_COUNT
};

/* The name of an account as stats() shows it ("core", "plan", ...). Static storage. */
FB_API const char *fb_account_name(enum fb_account account);

/* ---- Sources ------------------------------------------------------------------------------------------------- */

struct fb_source;

/*
 * A source whose units (a Parquet row group, say) are read as Arrow C streams. The callbacks are called from
 * reader threads, several at once, never under a lock of this library.
 */
struct fb_stream_source_callbacks {
    /*
     * Opens columns columns[0..column_count) (indexes into the schema, ascending) of one unit as a stream of
     * record batches (struct arrays whose children are those columns in that order), of at most piece_rows rows
     * each, and writes it to *out [move]. Returns 0 or an errno code with *error filled.
     */
    int (*open)(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count, uint64_t piece_rows,
                struct ArrowArrayStream *out, struct fb_error *error);
    /*
     * The bytes that all open streams of this source hold now, by the decoder's own counter; nullable. The value
     * includes blocks handed out and not yet released.
     */
    uint64_t (*allocated_bytes)(void *context);
    /* Bytes that the context keeps as long as it lives (footers, say); booked in FB_ACCOUNT_PLAN. */
    uint64_t context_bytes;
    /* Called on a reader thread that will read no more: what the context keeps for that thread can go. Nullable. */
    void (*leave)(void *context);
    /* Releases the context: no other callback runs after it. Nullable. May run on any thread. */
    void (*release)(void *context);
};

/* What the plan must know of a column of a stream source before anything is read. */
struct fb_stream_column_cost {
    uint64_t fixed_bytes;  /* most bytes that an open stream holds for it beside its piece: pages, dictionary */
    uint64_t row_bytes;    /* bytes that a row of a piece takes while decoded; an estimate for strings */
    uint64_t string_bytes; /* estimated bytes of the variable part of a row as a batch stores it: of a string its
                              bytes, of a list 4 or 8 bytes for each length below it and its elements; else 0 */
    uint64_t weight;       /* relative cost of decoding a row, to split columns evenly between threads; not 0 */
};

/*
 * Makes a source of units that are opened as streams.
 * schema: [borrow] a struct schema, its children are the columns. unit_rows: [borrow] rows of each unit.
 * costs: [borrow] one per column. context: [move], released with callbacks->release.
 * Fails with ENOTSUP, naming column and type, for a type that cannot be a batch column, and EINVAL.
 */
FB_API FB_MUST_CHECK int fb_source_from_streams(const struct ArrowSchema *schema, const uint64_t *unit_rows,
                                                uint64_t unit_count, const struct fb_stream_column_cost *costs,
                                                const struct fb_stream_source_callbacks *callbacks, void *context,
                                                struct fb_source **out, struct fb_error *error);

/* ---- Parquet that is decoded here ---- */

/* Values of `Type` in parquet.thrift. */
enum fb_parquet_type {
    FB_PARQUET_BOOLEAN = 0,
    FB_PARQUET_INT32 = 1,
    FB_PARQUET_INT64 = 2,
    FB_PARQUET_FLOAT = 4,
    FB_PARQUET_DOUBLE = 5,
    FB_PARQUET_FIXED_LEN_BYTE_ARRAY = 7
};

struct fb_parquet_file {
    const char *path;        /* [borrow until the source is made] */
    uint64_t size_bytes;     /* as when its footer was read: a file that changed since is refused with EIO */
    int64_t modified_ns;
};

/* One column of the schema. */
struct fb_parquet_column {
    bool is_decoded_here;       /* false: read as a stream, and nothing below counts */
    uint32_t physical_type;     /* enum fb_parquet_type */
    uint32_t type_bytes;        /* width of FIXED_LEN_BYTE_ARRAY */
    uint32_t max_definition;    /* flat: 0 or 1; a list: what its schema nodes add up to */
    uint32_t max_repetition;    /* 0; 1 for a fixed-size list */
    uint32_t element_definition; /* list: definition levels from this one on have an element (null or not) */
    uint64_t page_bytes;        /* first sizes of buffers: largest page uncompressed, */
    uint64_t stored_page_bytes; /* as stored, */
    uint64_t dictionary_bytes;  /* and dictionary */
};

/* One column chunk. */
struct fb_parquet_chunk {
    uint64_t offset;       /* of its first page in the file */
    uint64_t stored_bytes; /* from there to the end of its last page */
    uint64_t value_count;  /* levels, nulls included */
    uint64_t codec;        /* CompressionCodec of parquet.thrift */
};

struct fb_parquet {
    const struct fb_parquet_file *files;     /* [borrow] */
    uint64_t file_count;
    const uint32_t *unit_files;              /* [borrow] the file of each unit */
    const struct fb_parquet_column *columns; /* [borrow] one a column of the schema */
    const struct fb_parquet_chunk *chunks;   /* [borrow] unit by unit, one for each column decoded here, ascending */
};

/* Whether pages of this codec can be decoded here. */
FB_API bool fb_parquet_codec_is_supported(uint32_t codec);

/*
 * As fb_source_from_streams(), but the columns that parquet says are decoded here go straight from file pages into
 * batch memory, and only the others are opened as streams. Costs of columns decoded here are worked out here: theirs
 * in costs are not used but for their weight.
 */
FB_API FB_MUST_CHECK int fb_source_from_parquet(const struct ArrowSchema *schema, const uint64_t *unit_rows,
                                                uint64_t unit_count, const struct fb_stream_column_cost *costs,
                                                const struct fb_stream_source_callbacks *callbacks, void *context,
                                                const struct fb_parquet *parquet, struct fb_source **out,
                                                struct fb_error *error);

/*
 * Makes a source of blocks that are in memory already and belong to the caller's data: each block is one unit and
 * is not charged. schema: [borrow]; blocks: [move] struct arrays of that schema, all validated here.
 */
FB_API FB_MUST_CHECK int fb_source_from_blocks(const struct ArrowSchema *schema, struct ArrowArray *blocks,
                                               uint64_t block_count, struct fb_source **out, struct fb_error *error);

/* ---- Sources of unknown length ---- */

/*
 * A source of unknown length: one stream of record batches an epoch, pulled block by block. One thread reads it,
 * whatever thread_count says, and its batches always come in order.
 *
 * Before each pull the reader holds bytes for the largest block seen so far, in FB_ACCOUNT_READ. A larger one exists
 * before it can be refused: warm buffers give way to it, and where that is not enough it is released at once, the
 * excess is shown as foreign_bytes, and the epoch fails with ENOBUFS. A block is charged for what its own rows take in
 * their buffers, until its last row is copied.
 */
struct fb_pull_source_callbacks {
    /*
     * Opens the stream of the next epoch and writes it to *out [move]: struct arrays whose children are the schema's
     * columns. Called on a reader thread, no lock held. Returns 0 or an errno code with *error filled.
     */
    int (*open)(void *context, struct ArrowArrayStream *out, struct fb_error *error);
    /* Bytes that the context keeps as long as it lives; booked in FB_ACCOUNT_PLAN. */
    uint64_t context_bytes;
    /* Called on a reader thread that will read no more. Nullable. */
    void (*leave)(void *context);
    /* Releases the context: no other callback runs after it. Nullable. May run on any thread. */
    void (*release)(void *context);
};

/*
 * Makes a source of unknown length. schema: [borrow] a struct schema, its children are the columns; a stream whose
 * columns differ from it is refused with EINVAL when it is opened. context: [move], released with callbacks->release.
 * Fails with ENOTSUP, naming column and type, for a type that cannot be a batch column, and EINVAL.
 */
FB_API FB_MUST_CHECK int fb_source_from_pull(const struct ArrowSchema *schema,
                                             const struct fb_pull_source_callbacks *callbacks, void *context,
                                             struct fb_source **out, struct fb_error *error);

/*
 * A source of one stream, which is read once: its second epoch fails with EIO. The schema is asked of the stream.
 * stream: [move].
 */
FB_API FB_MUST_CHECK int fb_source_from_stream(struct ArrowArrayStream *stream, struct fb_source **out,
                                               struct fb_error *error);

/* Releases a source that no loader has taken over. NULL is fine. */
FB_API void fb_source_release(struct fb_source *source);

/* ---- Sources of your own ------------------------------------------------------------------------------------- */

/*
 * A source that writes its rows straight into batches. Reader threads ask it for the rows of a unit in order, several
 * units at once, never under a lock of this library:
 *
 *     open(unit) --> fill(next rows) --> fill(next rows) ... --> close
 *
 * A callback that fails returns an errno code with its error, which is never NULL, filled: see fb_error_set().
 */
struct fb_fill; /* the rows that one call of fill is asked for, and their places in a batch; valid during that call */

struct fb_fill_source_callbacks {
    /*
     * Begins to read columns columns[0..column_count) (indexes into the schema, ascending) [borrow until close] of a
     * unit at first_row. *cursor is handed to fill and close. Nullable: then the cursor is NULL.
     */
    int (*open)(void *context, uint64_t unit, const uint32_t *columns, uint32_t column_count, uint64_t first_row,
                void **cursor, struct fb_error *error);
    /* Puts every row asked for into every column of the cursor, with the functions below. */
    int (*fill)(void *context, void *cursor, struct fb_fill *fill, struct fb_error *error);
    /* Once for each open that succeeded, also after an error and before the unit's last row. Nullable. */
    void (*close)(void *context, void *cursor);
    /* Releases the context: no other callback runs after it. Nullable. May run on any thread. */
    void (*release)(void *context);
    uint64_t context_bytes; /* that the context keeps as long as it lives; booked in FB_ACCOUNT_PLAN */
    /* False: a unit is opened once, for all columns. True: also for some of them, by several threads side by side. */
    bool can_split_columns;
};

/* What the plan must know of a column. Bytes that are not said here are not seen by the limit. */
struct fb_fill_column_cost {
    uint64_t cursor_bytes; /* most bytes that an open cursor holds for it (as a whole: with any one of its columns) */
    uint64_t string_bytes; /* estimated bytes of the string of a row, as a batch stores it; 0 for other columns */
    uint64_t weight; /* relative cost of filling a row, to split columns evenly between threads; not 0 */
};

/*
 * Makes a source over callbacks. schema: [borrow] a struct schema, its children are the columns. unit_rows: [borrow]
 * rows of each unit. costs: [borrow] one per column; nullable: nothing held, nothing known of strings.
 * callbacks: [borrow]. context: [move], released with callbacks->release. ENOTSUP as fb_source_from_streams(), EINVAL.
 */
FB_API FB_MUST_CHECK int fb_source_from_fill(const struct ArrowSchema *schema, const uint64_t *unit_rows,
                                             uint64_t unit_count, const struct fb_fill_column_cost *costs,
                                             const struct fb_fill_source_callbacks *callbacks, void *context,
                                             struct fb_source **out, struct fb_error *error);

/* What is asked for: rows [first_row, first_row + rows) of a unit, at least one, and the cursor's columns. */
FB_API uint64_t fb_fill_unit(const struct fb_fill *fill);
FB_API uint64_t fb_fill_first_row(const struct fb_fill *fill);
FB_API uint64_t fb_fill_rows(const struct fb_fill *fill);
FB_API const uint32_t *fb_fill_columns(const struct fb_fill *fill, uint32_t *column_count);

/*
 * Four ways to fill a column; error may be the callback's. What they refuse ends the fill: return their code. All but
 * fb_fill_place() may wait for bytes of the limit: hold no lock then that another cursor needs.
 *
 * fb_fill_place: where the first row of a fixed-width column goes, the next ones right after it, all for the caller to
 * write. row_bytes: what the caller takes a row for (list_size elements as struct fb_column says: a bool is 1 byte, a
 * date or time 8); where a row is of another size, and for other columns, NULL, and error->code is the code.
 */
FB_API FB_MUST_CHECK void *fb_fill_place(struct fb_fill *fill, uint32_t column, uint64_t row_bytes,
                                         struct fb_error *error);
/* Appends the next row of a string or binary column. bytes: [borrow], NULL where byte_count is 0. */
FB_API FB_MUST_CHECK int fb_fill_string(struct fb_fill *fill, uint32_t column, const void *bytes, uint64_t byte_count,
                                        struct fb_error *error);
/*
 * Makes a row (0: the first asked for) a null, as the loader's null policy has it: with FB_NULLS_ERROR the fill ends.
 * In a string column it must be the next row; in a fixed-width one its place was got, and is written, before.
 */
FB_API FB_MUST_CHECK int fb_fill_null(struct fb_fill *fill, uint32_t column, uint64_t row, struct fb_error *error);
/* Appends rows of an Arrow array of the column's type, whichever that is. array: [borrow], checked; nulls as above. */
FB_API FB_MUST_CHECK int fb_fill_copy(struct fb_fill *fill, uint32_t column, const struct ArrowArray *array,
                                      uint64_t first_row, uint64_t row_count, struct fb_error *error);

/* ---- Loader -------------------------------------------------------------------------------------------------- */

struct fb_loader;
struct fb_batch;

enum fb_null_policy {
    FB_NULLS_ERROR = 0, /* a null ends the epoch with EIO, naming column and row */
    FB_NULLS_FILL, /* a null becomes the column's fill value */
    FB_NULLS_MASK /* as FB_NULLS_FILL, and every column has a validity array */
};

/* Replaces the default fill value (0, NaN, NaT, false, empty) of one column. bytes: [borrow]. */
struct fb_fill_value {
    uint32_t column;
    uint32_t leaf; /* of a struct column: which of its columns that are no structs, in order; 0 otherwise */
    const void *bytes; /* one element as the batch stores it, or the bytes of a string */
    uint64_t byte_count; /* the element's width; any length for a string */
};

/* How a batch stores its columns. */
enum fb_storage {
    /*
     * Dense, for training: a bool is a byte, dates and times are 64-bit, nulls follow the null policy. Dictionary and
     * run-end encoded columns are decoded.
     */
    FB_STORAGE_DENSE = 0,
    /*
     * As Arrow stores it, for fb_batch_export(): the source's own types, nulls kept whatever the null policy says.
     * Views become plain strings, binary and lists, run-end encoded columns are decoded; a dictionary-encoded column
     * is one with int32 indices where its values are plain, and decoded otherwise.
     */
    FB_STORAGE_ARROW
};

/* How one column differs from what its type says. */
struct fb_column_option {
    uint32_t column;
    bool is_dictionary; /* FB_STORAGE_DENSE: store codes and a dictionary; also for columns that come without one */
    bool is_bool8; /* FB_STORAGE_DENSE: 8-bit integers are stored as bools */
    uint64_t list_size; /* not 0, of a (large) list: each row has so many elements, store as a fixed-size list */
};

#define FB_PREFETCH_ADAPTIVE (-1)

struct fb_loader_options {
    uint64_t batch_rows; /* rows of a batch; 0: a batch is a unit of the source, or a block, that has rows */
    uint64_t memory_limit_bytes; /* what all accounts together never pass */
    int64_t prefetch_batches; /* most complete batches not yet delivered; 0: on demand; FB_PREFETCH_ADAPTIVE */
    uint32_t thread_count; /* reader threads, at least 1 */
    bool preserve_order;
    bool drop_last; /* leave out a last batch of fewer rows; not with batch_rows 0 */
    enum fb_null_policy null_policy;
    const struct fb_fill_value *fill_values; /* [borrow], NULL where none */
    uint32_t fill_value_count;
    enum fb_storage storage;
    const struct fb_column_option *column_options; /* [borrow], NULL where none */
    uint32_t column_option_count;
};

#define FB_UNKNOWN UINT64_MAX

/* What the plan settled. */
struct fb_plan {
    uint64_t batches; /* FB_UNKNOWN where the source is of unknown length; rows and units likewise */
    uint64_t rows;
    uint64_t units;
    uint64_t least_memory_bytes; /* where the length is unknown, blocks come on top of it */
    uint64_t batch_bytes; /* of one full batch, strings as estimated */
    uint64_t piece_rows; /* rows of a piece that a stream source is asked for */
    uint32_t column_sets; /* sets of columns that are read side by side */
    uint32_t thread_count;
};

/*
 * Plans an epoch over source and refuses a limit that is too small (ENOBUFS with required_bytes) and a source without
 * columns (EINVAL). Starts no thread.
 * options: [borrow]. source: [move].
 */
FB_API FB_MUST_CHECK int fb_loader_create(const struct fb_loader_options *options, struct fb_source *source,
                                          struct fb_loader **out, struct fb_error *error);

FB_API void fb_loader_plan(const struct fb_loader *loader, struct fb_plan *out);

/*
 * Begins the next epoch: whatever is left of the one before it is let go and its threads are joined. Reader threads
 * start at the first fb_loader_next(). close_timeout_ns: as in fb_loader_end_epoch().
 */
FB_API FB_MUST_CHECK int fb_loader_begin_epoch(struct fb_loader *loader, uint64_t close_timeout_ns,
                                               struct fb_error *error);

/* Deadlines are absolute, in nanoseconds of CLOCK_MONOTONIC. */
#define FB_NO_DEADLINE UINT64_MAX

/*
 * The next batch of the epoch. Returns
 *   0          with *out a batch [out: free with fb_batch_release], or NULL when the epoch is over;
 *   EAGAIN     when no batch is ready and deadline_ns is 0 (it then never blocks);
 *   ETIMEDOUT  at the deadline: the epoch goes on and the next call tries again;
 *   EINTR      when a signal interrupted the wait: handle it and call again;
 *   EDEADLK    when nothing can go on because the bytes are in the user's hands: release batches, then call again.
 *              With patience true it first waits, up to the deadline, for a release that does not help enough;
 *   ECANCELED  when fb_loader_interrupt() was called;
 *   others     the epoch has failed; later calls give the same error.
 * SIGINT is blocked from the last check for a batch up to the wait itself, so that none is lost between the two.
 */
FB_API FB_MUST_CHECK int fb_loader_next(struct fb_loader *loader, uint64_t deadline_ns, bool patience,
                                        struct fb_batch **out, struct fb_error *error);

/* Makes a waiting fb_loader_next(), or the next one, return ECANCELED. From any thread while the handle lives. */
FB_API void fb_loader_interrupt(struct fb_loader *loader);

/*
 * Ends the epoch: stops, drains and joins the reader threads, lets every undelivered batch go. A thread that is
 * inside a callback of the source for longer than close_timeout_ns is abandoned: it ends by itself when the callback
 * returns, its bytes stay charged until then. Returns the number of threads abandoned, and in *unit (nullable) a unit
 * that one of them was reading.
 */
FB_API uint32_t fb_loader_end_epoch(struct fb_loader *loader, uint64_t close_timeout_ns, int64_t *unit);

/* ---- Statistics ---------------------------------------------------------------------------------------------- */

struct fb_account_stats {
    uint64_t bytes;
    uint64_t peak_bytes;
};

struct fb_stage_stats {
    const char *name; /* static storage */
    double busy_s, wait_input_s, wait_output_s, wait_bytes_s; /* summed over the threads */
    uint64_t items;
};

struct fb_wait_stats {
    uint64_t count;
    double p50_s, p90_s, p99_s, max_s, sum_s;
};

#define FB_STAGE_STATS_MAX 8

struct fb_stats {
    uint64_t batches, rows, bytes_out;
    uint64_t memory_limit_bytes, peak_bytes, charged_bytes, foreign_bytes;
    uint64_t held_batches;
    uint64_t gate_allocations; /* calls of the allocation gate so far */
    double first_batch_s; /* from the first next() of the epoch to its first batch; 0 before */
    double blocked_s; /* time inside next() */
    double user_s; /* time between one next() and the following one */
    struct fb_account_stats accounts[FB_ACCOUNT_COUNT];
    struct fb_wait_stats next_wait;
    uint32_t stage_count;
    struct fb_stage_stats stages[FB_STAGE_STATS_MAX];
    const char *bottleneck; /* a stage's name or "consumer"; static storage; NULL before the first batch */
};

/* A snapshot. Callable at any time from any thread, also while an epoch runs. */
FB_API void fb_loader_stats(struct fb_loader *loader, struct fb_stats *out);

/*
 * Ends the epoch, gives back everything but batches in the user's hands, and frees the handle. NULL is fine.
 * Returns and *unit as fb_loader_end_epoch(). *stats (nullable) is the last snapshot: the figures as they are when all
 * this is done.
 */
FB_API uint32_t fb_loader_close(struct fb_loader *loader, uint64_t close_timeout_ns, int64_t *unit,
                                struct fb_stats *stats);

/* ---- Batches ------------------------------------------------------------------------------------------------- */

enum fb_column_kind {
    FB_COLUMN_FIXED = 0, /* list_size elements of element_bytes a row, contiguous */
    FB_COLUMN_BINARY, /* offsets of 4 or 8 bytes, then bytes: the layout of Arrow's (large) string and binary */
    FB_COLUMN_LIST, /* offsets of 4 or 8 bytes into the rows of child 0; a map's child is a struct */
    FB_COLUMN_FIXED_LIST, /* list_size rows of child 0 a row, where those are not plain elements */
    FB_COLUMN_STRUCT, /* its children have the same rows */
    FB_COLUMN_DICTIONARY, /* values are int32 codes, rows of child 0, the dictionary of this batch */
    FB_COLUMN_NULL /* FB_STORAGE_ARROW: type null; nothing is stored */
};

/*
 * One column of a batch, or a part of one. Pointers are valid, and the memory may be written, until the batch is
 * released. With FB_STORAGE_ARROW only kind, name, format, row_count and children say something: the memory is reached
 * through fb_batch_export().
 */
struct fb_column {
    enum fb_column_kind kind;
    const char *name; /* UTF-8, belongs to the loader; of a child: the field's in its struct, else "" */
    const char *format; /* Arrow format string of what is stored (values of a dictionary, say); the loader's */
    const char *element_format; /* FIXED: of one element, which is not the list's own; NULL for other kinds */
    uint64_t row_count; /* of the batch, or of what a list's offsets count */
    void *values; /* FIXED, DICTIONARY: 64-byte aligned; BINARY: the bytes; NULL where there are none */
    uint64_t element_bytes; /* FIXED: width of an element as stored here: a bool is 1 byte, a date or time 8 */
    uint64_t list_size; /* FIXED: elements of a row of (nested) fixed-size lists; FIXED_LIST: rows; 1 otherwise */
    bool is_list; /* FIXED: a fixed-size list, also of size 1 */
    void *offsets; /* BINARY, LIST: row_count + 1 offsets, the first is 0 */
    uint32_t offset_bytes; /* BINARY, LIST: 4 or 8 */
    uint8_t *valid; /* FB_NULLS_MASK, no part of a list: one byte a row, 1 where not null; otherwise NULL */
    uint32_t child_count; /* see fb_batch_child() */
    uint32_t node; /* for fb_batch_child() */
};

/* Batch number k begins at row k * batch_rows of the epoch; columns are numbered as in the source's schema. */
FB_API uint64_t fb_batch_rows(const struct fb_batch *batch);
FB_API uint64_t fb_batch_index(const struct fb_batch *batch);
FB_API uint32_t fb_batch_column_count(const struct fb_batch *batch);
FB_API void fb_batch_column(const struct fb_batch *batch, uint32_t column, struct fb_column *out);
/* Child number `child` of a LIST, FIXED_LIST, STRUCT or DICTIONARY that was got from this batch. */
FB_API void fb_batch_child(const struct fb_batch *batch, const struct fb_column *parent, uint32_t child,
                           struct fb_column *out);

/*
 * FB_STORAGE_ARROW: the batch as a struct array over its own memory, nothing copied or allocated. batch: [move].
 * *out: [out: release]; children may be moved out of it. The memory goes back to the loader when the last part is
 * released, from any thread; a release in a child of fork() only forgets. Its schema is fb_loader_export_schema()'s.
 */
FB_API void fb_batch_export(struct fb_batch *batch, struct ArrowArray *out);

/* The schema of what fb_batch_export() gives: [out: release]. ENOMEM. */
FB_API FB_MUST_CHECK int fb_loader_export_schema(const struct fb_loader *loader, struct ArrowSchema *out,
                                                 struct fb_error *error);

/* Gives the batch's memory back. Once per batch, from any thread. NULL is fine. */
FB_API void fb_batch_release(struct fb_batch *batch);

#ifdef __cplusplus
}
#endif

#endif /* FOREBAY_FOREBAY_H */
