param boxes_a_name string = 'a'
param boxes_b_name string = 'b'
@secure()
param boxes_a_lock_code string?
param boxes_z_externalid string = '/subscriptions/x/resourceGroups/y/providers/Microsoft.Toys/boxes/z'

resource boxes_a 'Microsoft.Toys/boxes@2024-01-01' = {
  name: boxes_a_name
  location: 'westeurope'
  tags: {
    'it\'s': '[x]'
  }
  sku: {
    name: 'S'
  }
  properties: {
    extra: {
      empty: {}
      list: [
        1
        null
        true
      ]
      n: json('1.5')
    }
    label: '\${a}\'s\n'
    lock: {
      kind: 'pin'
      code: boxes_a_lock_code
    }
    parts: [
      {
        name: 'p'
        properties: {
          n: 1
        }
      }
    ]
  }
}

resource socks_a_top_red 'Microsoft.Toys/boxes/drawers/socks@2024-01-01' = {
  name: '${boxes_a_name}/top/red'
  properties: {
    pairs: 2
  }
  dependsOn: [
    boxes_a
  ]
}

resource boxes_b 'Microsoft.Toys/boxes@2024-01-01' = {
  name: boxes_b_name
  location: 'westeurope'
  properties: {
    friend: {
      id: '${boxes_a.id}/parts/p'
    }
    other: '${boxes_z_externalid}/parts/q'
    parts: []
  }
}

resource links_a_ab 'Microsoft.Toys/boxes/links@2024-01-01' = {
  parent: boxes_a
  name: 'ab'
  properties: {
    remote: {
      id: boxes_b.id
    }
  }
}

resource links_b_ba 'Microsoft.Toys/boxes/links@2024-01-01' = {
  parent: boxes_b
  name: 'ba'
  properties: {
    remote: {
      id: boxes_a.id
    }
  }
}

resource notes_b_n 'Microsoft.Toys/boxes/notes@2024-01-01' = {
  parent: boxes_b
  name: 'n'
  properties: {
    about: boxes_a.id
  }
}
