# frozen_string_literal: true

# Dalli, which up to its version 3.1 uses the binary protocol only, against a running server.
# Run by scripts/clients through with-server; the lines printed are those of harness.py.

require 'dalli'

HOST = ENV.fetch('MEMC_HOST')
PORT = ENV.fetch('MEMC_PORT')
LARGE = '0123456789abcdef' * ((1024 * 1024 - 512) / 16)
TOO_LARGE = 'x' * (1024 * 1024)
Dalli.logger.level = Logger::FATAL

def client(port = PORT, **options)
  Dalli::Client.new("#{HOST}:#{port}", socket_timeout: 20, compress: false, **options)
end

def same(got, want)
  raise "got #{got.inspect[0, 80]}, wanted #{want.inspect[0, 80]}" unless got == want
end

def raises(error)
  yield
rescue error
  nil
else
  raise "no #{error} was raised"
end

# Waits for a condition that depends on time, such as expiry.
def eventually
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 6
  until yield
    raise 'still not so after 6 seconds' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

    sleep 0.05
  end
end

c = client
raw = { raw: true }.freeze

features = {
  'set' => lambda {
    c.set('set', 'one')
    c.set('set', 'two')
    same(c.get('set'), 'two')
    c.set('empty', '', nil, raw)
    same(c.get('empty'), '')
  },
  'get' => lambda {
    same(c.get('get-nothing'), nil)
    c.set('get', "\x00\r\nEND\r\n\xff".b, nil, raw)
    same(c.get('get').b, "\x00\r\nEND\r\n\xff".b)
    same(c.fetch('get-fetched') { 'made' }, 'made')
    same(c.get('get-fetched'), 'made')
  },
  'multi' => lambda {
    pairs = (0...300).to_h { |i| ["multi#{i}", "value #{i}"] }
    c.multi { pairs.each { |key, value| c.set(key, value) } }
    same(c.get_multi(pairs.keys + ['multi-nothing']), pairs)
    same(c.get_multi_cas(pairs.keys).values.count { |_, cas| cas.positive? }, 300)
    c.multi { pairs.each_key { |key| c.delete(key) } }
    same(c.get_multi(pairs.keys), {})
  },
  'add' => lambda {
    same(c.add('add', '1') ? true : false, true)
    same(c.add('add', '2'), false)
    same(c.get('add'), '1')
  },
  'replace' => lambda {
    c.replace('replace', '1') # this client's result is not conclusive
    same(c.get('replace'), nil)
    c.set('replace', '1')
    same(c.replace('replace', '22') ? true : false, true)
    same(c.get('replace'), '22')
  },
  'append' => lambda {
    same(c.append('append', 'x'), false)
    c.set('append', 'a', nil, raw)
    same(c.append('append', 'b' * 5000), true)
    same(c.get('append'), "a#{'b' * 5000}")
  },
  'prepend' => lambda {
    same(c.prepend('prepend', 'x'), false)
    c.set('prepend', 'z', nil, raw)
    same(c.prepend('prepend', 'y' * 5000), true)
    same(c.get('prepend'), "#{'y' * 5000}z")
  },
  'cas' => lambda {
    same(c.cas('cas') { 'x' }, nil)
    c.set('cas', '1')
    value, unique = c.get_cas('cas')
    same(value, '1')
    newer = c.set_cas('cas', '2', unique)
    same(newer > unique, true)
    same(c.set_cas('cas', '3', unique) ? true : false, false)
    same(c.replace_cas('cas', '4', unique) ? true : false, false)
    same(c.delete_cas('cas', unique), false)
    same(c.cas('cas') { |old| "#{old}5" } ? true : false, true)
    same(c.get('cas'), '25')
    same(c.delete_cas('cas', c.get_cas('cas').last), true)
  },
  'incr' => lambda {
    same(c.incr('incr'), nil)
    same(c.incr('incr', 1, 100, 9), 9)
    same(c.incr('incr'), 10)
    same(c.incr('incr', 2**32), 2**32 + 10)
    same(c.incr('incr', 2**64 - 1), 2**32 + 9)
    c.set('incr-word', 'word', nil, raw)
    raises(Dalli::DalliError) { c.incr('incr-word') }
  },
  'decr' => lambda {
    same(c.decr('decr'), nil)
    same(c.decr('decr', 1, 100, 10), 10)
    same(c.decr('decr'), 9)
    same(c.decr('decr', 100), 0)
  },
  'touch' => lambda {
    same(c.touch('touch', 10), nil)
    c.set('touch', 't', 100)
    same(c.touch('touch', 1000), true)
    same(c.get('touch'), 't')
  },
  'gat' => lambda {
    same(c.gat('gat-nothing', 10), nil)
    c.set('gat', 'g', 1)
    same(c.gat('gat', 1000), 'g')
    c.set('gat-clock', '', 1)
    eventually { c.get('gat-clock').nil? }
    same(c.get('gat'), 'g')
  },
  'delete' => lambda {
    same(c.delete('delete') ? true : false, false)
    c.set('delete', 'd')
    same(c.delete('delete'), true)
    same(c.get('delete'), nil)
  },
  'expiry' => lambda {
    c.set('expiry-later', '1', 100)
    c.set('expiry-date', '1', Time.now.to_i + 100)
    c.set('expiry-soon', '1', 1)
    eventually { c.get('expiry-soon').nil? }
    same(c.get_multi('expiry-later', 'expiry-date').size, 2)
  },
  'stats' => lambda {
    before = c.stats["#{HOST}:#{PORT}"]
    c.set('stats', 's')
    c.get('stats')
    after = c.stats["#{HOST}:#{PORT}"]
    same(after['cmd_set'].to_i - before['cmd_set'].to_i, 1)
    same(after['get_hits'].to_i - before['get_hits'].to_i, 1)
    same(c.stats(:settings)["#{HOST}:#{PORT}"]['maxbytes'], '67108864')
    same(c.stats(:slabs)["#{HOST}:#{PORT}"].keys.any? { |name| name.end_with?(':chunk_size') }, true)
    c.reset_stats
    same(c.stats["#{HOST}:#{PORT}"]['cmd_set'], '0')
  },
  'version' => -> { same(c.version, { "#{HOST}:#{PORT}" => '1.6.45' }) },
  'large' => lambda {
    c.set('large', LARGE, nil, raw)
    same(c.get('large') == LARGE, true)
  },
  'toolarge' => lambda {
    bold = client(value_max_bytes: 1 << 23)
    bold.set('toolarge', 'old')
    raises(Dalli::DalliError) { bold.set('toolarge', TOO_LARGE, nil, raw) }
    same(bold.get('toolarge'), nil)
    bold.set('toolarge', 'after')
    same(c.get('toolarge'), 'after')
  },
  'keys' => lambda {
    ['k' * 250, 'schlüssel', 'a b', "a:b/c?d=e,f;{}[]'\""].each do |key|
      c.set(key, key)
      same(c.get(key), key)
    end
  },
  'flags' => lambda {
    ['text', 7, 1.5, nil, { 'list' => [1, nil] }].each do |value|
      c.set('flags', value)
      same(c.get('flags'), value)
    end
    packing = client(compress: true)
    packing.set('packed', 'compress me ' * 10_000)
    same(packing.get('packed') == 'compress me ' * 10_000, true)
  },
  'noreply' => lambda {
    c.multi do
      c.set('noreply', '1')
      c.add('noreply', '2')
      c.replace('noreply', '3')
      c.replace('noreply-nothing', '3')
      c.delete('noreply-nothing')
    end
    same(c.get('noreply'), '3')
  },
  'flush' => lambda {
    c.set('flush', '1')
    same(c.flush, [true])
    same(c.get('flush'), nil)
    c.set('flush', '2')
    same(c.get('flush'), '2')
  }
}

if (port = ENV['MEMC_SASL_PORT'])
  user, password = ENV.values_at('MEMC_USER', 'MEMC_PASSWORD')
  features['sasl'] = lambda {
    known = client(port, username: user, password: password)
    known.set('sasl', '1')
    same(known.get('sasl'), '1')
    raises(Dalli::DalliError) { client(port, username: user, password: "#{password}!").get('sasl') }
    raises(Dalli::DalliError) { client(port).get('sasl') }
  }
end

name = 'dalli'
$stdout.sync = true
puts "plan #{name} #{features.keys.join(' ')}"
failed = 0
features.each do |feature, test|
  test.call
  puts "ok #{name} #{feature}"
rescue StandardError, NotImplementedError => e
  failed += 1
  line = e.backtrace.grep(/dalli_client/).map { |frame| frame[/:(\d+)/, 1] }[e.backtrace.first.include?('same') ? 1 : 0]
  puts "not ok #{name} #{feature}: line #{line}: #{e.class} #{e.message.split.join(' ')[0, 200]}"
end
exit(failed.zero? ? 0 : 1)
