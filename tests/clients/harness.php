<?php
// Shared code of the PHP client tests; the lines printed are those of harness.py.
declare(strict_types=1);

error_reporting(E_ALL & ~E_NOTICE);
$HOST = getenv('MEMC_HOST');
$PORT = (int) getenv('MEMC_PORT');
$LARGE = str_repeat('0123456789abcdef', intdiv(1024 * 1024 - 512, 16));
$TOO_LARGE = random_bytes(1024 * 1024);

// Tries each feature in order and exits.
function run_features(string $client, array $features): never
{
    echo "plan $client ", implode(' ', array_keys($features)), "\n";
    $failed = 0;
    foreach ($features as $name => $test) {
        try {
            $test();
            echo "ok $client $name\n";
        } catch (Throwable $error) {
            $failed++;
            $frames = array_filter($error->getTrace(), fn($f) => str_ends_with($f['file'] ?? '', '_client.php'));
            $line = reset($frames)['line'] ?? $error->getLine();
            echo "not ok $client $name: line $line: ", preg_replace('/\s+/', ' ', $error->getMessage()), "\n";
        }
    }
    exit($failed ? 1 : 0);
}

function same(mixed $got, mixed $want): void
{
    if ($got !== $want) {
        $shown = fn($value) => substr((string) json_encode($value, JSON_INVALID_UTF8_SUBSTITUTE), 0, 80);
        throw new Exception('got ' . $shown($got) . ', wanted ' . $shown($want));
    }
}

// Waits for a condition that depends on time, such as expiry.
function eventually(callable $condition): void
{
    $deadline = microtime(true) + 6;
    while (!$condition()) {
        if (microtime(true) > $deadline) {
            throw new Exception('still not so after 6 seconds');
        }
        usleep(50000);
    }
}
