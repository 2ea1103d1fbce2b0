//! The text commands, each as a script ([`crate::support::script`]). All replies are those of memcached 1.6.45.

scripts! {
store_and_fetch "" r"
    > set a 1 0 5
    > hello
    STORED
    > get a
    VALUE a 1 5
    hello
    END
    > get b
    END
    > set b 4294967295 0 0
    >
    STORED
    > get b a c a
    VALUE b 4294967295 0
    |
    VALUE a 1 5
    hello
    VALUE a 1 5
    hello
    END
    > gets a b
    VALUE a 1 5 2
    hello
    VALUE b 4294967295 0 3
    |
    END
    > set a 0 0 2
    > \x0d\x0a
    STORED
    > get a
    VALUE a 0 2
    |
    |
    END
    > set a 0 0 5
    > \x00\x01\xff\x0a\x0d
    STORED
    > get a
    VALUE a 0 5
    \x00\x01\xff\x0a\x0d
    END
"

store_modes "" r"
    > replace a 0 0 1
    > x
    NOT_STORED
    > append a 0 0 1
    > x
    NOT_STORED
    > prepend a 0 0 1
    > x
    NOT_STORED
    > add a 7 0 1
    > b
    STORED
    > add a 0 0 1
    > y
    NOT_STORED
    > append a 9 0 1
    > c
    STORED
    > prepend a 9 0 1
    > a
    STORED
    > gets a
    VALUE a 7 3 8
    abc
    END
    > replace a 8 0 1
    > r
    STORED
    > gets a
    VALUE a 8 1 9
    r
    END
"

compare_and_swap "" r"
    > cas a 0 0 1 1
    > x
    NOT_FOUND
    > set a 0 0 1
    > x
    STORED
    > gets a
    VALUE a 0 1 3
    x
    END
    > cas a 5 0 1 1
    > y
    EXISTS
    > cas a 5 0 1 2
    > y
    EXISTS
    > gets a
    VALUE a 0 1 3
    x
    END
    > cas a 0 0 1 x
    > y
    CLIENT_ERROR bad command line format
    > cas a 0 0 1 99999999999999999999999
    > y
    CLIENT_ERROR bad command line format
    > cas a 0 0 1 3 noreply
    > z
    > gets a
    VALUE a 0 1 6
    z
    END
"

numbers "" r"
    > incr n 1
    NOT_FOUND
    > set n 0 0 2
    > 10
    STORED
    > incr n 5
    15
    > decr n 10
    5
    > get n
    VALUE n 0 2
    |5 |
    END
    > decr n 10
    0
    > incr n 18446744073709551615
    18446744073709551615
    > incr n 1
    0
    > set n 0 0 2
    > 99
    STORED
    > incr n 1
    100
    > decr n 1
    99
    > get n
    VALUE n 0 3
    |99 |
    END
    > incr n x
    CLIENT_ERROR invalid numeric delta argument
    > incr n -1
    CLIENT_ERROR invalid numeric delta argument
    > incr n 18446744073709551616
    CLIENT_ERROR invalid numeric delta argument
    > incr n
    CLIENT_ERROR bad command line format
    > incr
    CLIENT_ERROR bad command line format
    > set a 0 0 1
    > x
    STORED
    > incr a 1
    CLIENT_ERROR cannot increment or decrement non-numeric value
    > decr a 1
    CLIENT_ERROR cannot increment or decrement non-numeric value
    > incr n 1 noreply
    > get n
    VALUE n 0 3
    100
    END
    > set n 0 0 20
    > 18446744073709551615
    STORED
    > incr n 1
    0
    > get n
    VALUE n 0 20
    0\x20{19}
    END
"

delete "" r"
    > delete a
    NOT_FOUND
    > set a 0 0 1
    > x
    STORED
    > delete a
    DELETED
    > delete a
    NOT_FOUND
    > delete a 0
    NOT_FOUND
    > delete a 1
    NOT_FOUND
    > set a 0 0 1
    > x
    STORED
    > delete a 0 noreply
    > get a
    END
    > delete
    CLIENT_ERROR bad command line format
"

touch_and_gat "" r"
    > touch a 10
    NOT_FOUND
    > set a 3 0 1
    > x
    STORED
    > touch a 10
    TOUCHED
    > touch a x
    CLIENT_ERROR invalid exptime argument
    > touch a
    CLIENT_ERROR bad command line format
    > touch
    CLIENT_ERROR bad command line format
    > gat 10 a b
    VALUE a 3 1
    x
    END
    > gats 0 a
    VALUE a 3 1 2
    x
    END
    > gat
    CLIENT_ERROR bad command line format
    > gat 0
    CLIENT_ERROR bad command line format
    > gat x a
    CLIENT_ERROR invalid exptime argument
    > gat -1 a
    VALUE a 3 1
    x
    END
    > get a
    END
"

noreply "" r"
    > set a 0 0 1 noreply
    > x
    > add a 0 0 1 noreply
    > y
    > append a 0 0 1 noreply
    > z
    > get a
    VALUE a 0 2
    xz
    END
    > incr a 1 noreply
    > touch a 0 noreply
    > delete b noreply
    > flush_all noreply
    > get a
    END
    > verbosity 0 noreply
    > set a 0 0 1 norepl
    > x
    STORED
    > get a
    VALUE a 0 1
    x
    END
    > set b 0 0 1 noreply\x20
    > x
    > get b
    VALUE b 0 1
    x
    END
"

expired_at_once "" r"
    > set a 0 -1 1
    > x
    STORED
    > get a
    END
    > set a 0 0 1
    > x
    STORED
    > touch a -1
    TOUCHED
    > get a
    END
"

malformed_numbers "" r"
    > set a 0 0 -1
    CLIENT_ERROR bad command line format
    > get a
    END
    > set a 0 0 x
    CLIENT_ERROR bad command line format
    > set a 0 0
    CLIENT_ERROR bad command line format
    > set a x 0 1
    > y
    CLIENT_ERROR bad command line format
    > set a 0 x 1
    > y
    CLIENT_ERROR bad command line format
    > set a 4294967296 0 1
    > y
    STORED
    > set a -1 0 1
    > y
    CLIENT_ERROR bad command line format
    > get a
    VALUE a 0 1
    y
    END
    > set a 0 0 99999999999
    CLIENT_ERROR bad command line format
    > set a 0 0 2147483647
    CLIENT_ERROR bad command line format
    > get a
    VALUE a 0 1
    y
    END
"

values_of_another_length "" r"
    > set a 0 0 3
    > xxxx
    CLIENT_ERROR bad data chunk
    CLIENT_ERROR bad command line format
    > get a
    END
    > set b 0 0 3
    > xx
    > get b
    CLIENT_ERROR bad data chunk
    ERROR
    > get b
    END
    > set a 0 0 12
    > get b
    > xxxx
    >
    CLIENT_ERROR bad data chunk
    CLIENT_ERROR bad command line format
    > get a
    END
"

long_keys "" r"
    > set k{250} 0 0 1
    > x
    STORED
    > get k{250}
    VALUE k{250} 0 1
    x
    END
    > set k{251} 0 0 1
    > x
    CLIENT_ERROR bad command line format
    > get a k{251}
    CLIENT_ERROR bad command line format
    |
    > get k{251}
    CLIENT_ERROR bad command line format
    |
    > incr k{251} 1
    CLIENT_ERROR bad command line format
    > delete k{251}
    CLIENT_ERROR bad command line format
    > touch k{251} 0
    CLIENT_ERROR bad command line format
    > gat 0 k{251}
    CLIENT_ERROR bad command line format
    |
    > get k{250}
    VALUE k{250} 0 1
    x
    END
"

blanks_and_case "" r"
    > \x20get a
    ERROR
    > GET a
    ERROR
    > Set a 0 0 1
    > x
    ERROR
    CLIENT_ERROR bad command line format
    > set  a  0  0  1\x20
    > x
    STORED
    > get  a  b\x20
    VALUE a 0 1
    x
    END
    > get
    CLIENT_ERROR bad command line format
    > get\x20
    CLIENT_ERROR bad command line format
    > gets
    CLIENT_ERROR bad command line format
    > abc
    ERROR
"

administration "" r"
    > version
    VERSION 1.6.45
    > verbosity
    CLIENT_ERROR bad command line format
    > verbosity 0
    OK
    > verbosity 1 2
    OK
    > flush_all
    OK
    > flush_all 0
    OK
    > flush_all x
    CLIENT_ERROR invalid exptime argument
    > flush_all 0 noreply
    > flush_all -2
    OK
    > stats nothing
    ERROR
    > stats detail
    CLIENT_ERROR usage: stats detail on\x7coff\x7cdump
    > stats cachedump 1
    CLIENT_ERROR bad command line
    > cache_memlimit
    ERROR
    > cache_memlimit 1
    MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m
    > slabs reassign 1 2 3
    ERROR
    > slabs
    ERROR
    > lru
    ERROR
    > lru mode x
    ERROR
    > lru_crawler
    ERROR
    > shutdown
    SERVER_ERROR: shutdown not enabled
    > nonsense
    ERROR
"

quit_ends_the_connection "" r"
    > set a 0 0 1
    > x
    STORED
    > get a
    VALUE a 0 1
    x
    END
    > quit
    !closed
"

a_request_of_http_ends_the_connection "" r"
    > get a
    END
    > GET / HTTP/1.1
    !closed
"

no_flush "-F" r"
    > set a 0 0 1
    > x
    STORED
    > flush_all
    CLIENT_ERROR flush_all not allowed
    > flush_all 0
    CLIENT_ERROR flush_all not allowed
    > get a
    VALUE a 0 1
    x
    END
"

too_large_values "" r"
    > set a 0 0 1
    > x
    STORED
    > set a 0 0 1048576
    > v{1048576}
    SERVER_ERROR object too large for cache
    > get a
    END
    > set a 0 0 1048000
    > v{1048000}
    STORED
    > append a 0 0 1000
    > w{1000}
    NOT_STORED
    > get a
    VALUE a 0 1048000
    v{1048000}
    END
"

bytes_of_packets_are_text "" r"
    > get a
    END
    > \x80\x0b\x00\x00
    ERROR
    > \xff
    CLIENT_ERROR bad command line format
    > get a
    END
"
}
