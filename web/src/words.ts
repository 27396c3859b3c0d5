/** Words for readable room ids and friendly default names. Both lists have 64 entries: six random bits pick one without bias. */

export const ADJECTIVES: readonly string[] = (
  "amber agile ample autumn bold brave breezy bright brisk calm candid clever copper coral cosy crisp " +
  "curious dapper dawn deft eager early earnest fair gentle glad golden happy hazel honest humble ivory " +
  "jolly keen kind lively lucky lunar mellow merry mild misty modest neat nimble noble patient placid " +
  "plucky polite proud quiet rapid ready rosy sandy silver smart snug solar steady sunny swift wise"
).split(" ");

export const ANIMALS: readonly string[] = (
  "badger beaver bison bobcat bunting camel caribou cheetah civet condor coyote crane curlew dolphin dormouse dunlin " +
  "egret falcon ferret finch gannet gazelle gecko gibbon grouse hare hedgehog heron hoopoe ibex ibis impala " +
  "jackdaw jaguar kestrel kingfisher koala lapwing lemur linnet lynx magpie marmot marten newt ocelot oriole osprey " +
  "otter owl panda pangolin pelican plover puffin quail raven robin seal sparrow stork swallow tapir wren"
).split(" ");

/** The word that a random byte picks. */
export function pick(words: readonly string[], byte: number): string {
  return words[byte & 63] ?? "";
}
